"""Risk: pure rules over values. The gate judges what may be sent, the monitors what must end; neither can be bypassed."""

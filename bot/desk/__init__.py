"""What people see of a desk: a snapshot of it as plain values, lines of what happened, a live view, and the score."""

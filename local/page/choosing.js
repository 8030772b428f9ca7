import { alertLine, field, h, markFields, once } from "/page/dom.js";
import { day, hours, money } from "/page/format.js";
import { explain, go, held, holdfast, kept } from "/page/shop.js";

const PAGE = 24;
const MOST = 50; // units of a slot in one hold
const UNITS = { ticket: "ticket", class: "place", appointment: "appointment", package: "package" };

/** Everything that is on sale. */
export async function offerings() {
  const all = await holdfast.reservations.offerings();
  const cards = all.map((offering) =>
    h(
      "li",
      null,
      h(
        "a",
        { class: "card", href: `#/o/${encodeURIComponent(offering.slug)}` },
        h("strong", null, offering.name),
        h("span", null, `${money(offering.unit_amount, offering.currency)} per ${UNITS[offering.kind]}`),
        offering.pay_on_arrival && h("span", { class: "hint" }, "Pay now or on arrival"),
      ),
    ),
  );
  return { title: "What is on", content: [h("ul", { class: "cards" }, cards)] };
}

/** One offering: its times with what is left, and the form that holds. */
export async function offering(slug) {
  const [all, first] = await Promise.all([
    holdfast.reservations.offerings(),
    holdfast.reservations.slots({ offering: slug, limit: PAGE }),
  ]);
  const sold = all.find((one) => one.slug === slug);
  const unit = UNITS[sold.kind];
  const slots = new Map();
  const times = h("div", { class: "times" });
  const units = field(`How many ${unit}s`, number("/items/0/units", 1, MOST, 1));
  const addOns = sold.add_ons.map((addOn) => ({
    addOn,
    field: field(
      `${addOn.name}, ${money(addOn.unit_amount, sold.currency)} each`,
      number(`add-on/${addOn.id}`, 0, MOST, 0),
    ),
  }));
  const total = h("output", { class: "total" });
  const alert = alertLine();
  const hold = h("button", null, "Hold");
  const more = h("button", { type: "button", class: "quiet", click: () => once(more, showMore) }, "Later times");
  const form = h(
    "form",
    { novalidate: true, input: count_up, submit },
    alert,
    h("fieldset", null, h("legend", null, "When"), times, more),
    h("fieldset", null, h("legend", null, "What"), units, addOns.map((one) => one.field)),
    h(
      "fieldset",
      null,
      h("legend", null, "Who"),
      field("Name", h("input", { name: "/customer/name", autocomplete: "name", required: true, maxlength: 200 })),
      field(
        "E-mail",
        h("input", { name: "/customer/email", type: "email", autocomplete: "email", required: true, maxlength: 254 }),
      ),
      field(
        "Telephone (optional)",
        h("input", { name: "/customer/phone", type: "tel", autocomplete: "tel", maxlength: 40 }),
      ),
    ),
    h("p", { class: "act" }, total, hold),
  );
  fill(first);
  count_up();
  return { title: sold.name, content: [h("p", null, `${money(sold.unit_amount, sold.currency)} per ${unit}`), form] };

  function fill(page) {
    for (const slot of page.slots) {
      slots.set(slot.id, slot);
      times.append(row(slot));
    }
    if (slots.size === 0) times.append(h("p", null, "Nothing is to be had at the moment."));
    more.hidden = !page.next;
    more.value = page.next ?? "";
  }

  function row(slot) {
    const left = Math.min(slot.units_left, slot.bookings_left > 0 ? slot.units_left : 0);
    const radio = h("input", { type: "radio", name: "/items/0/slot_id", value: slot.id, disabled: left === 0 });
    radio.checked = left > 0 && slots.size === 1;
    const said = left === 0 ? "sold out" : `${left} left`;
    return h(
      "label",
      { class: "slot" },
      radio,
      h("span", null, h("strong", null, day(slot, sold.timezone)), h("br"), hours(slot, sold.timezone)),
      h("span", { class: left === 0 ? "left none" : "left" }, said),
    );
  }

  async function showMore() {
    try {
      fill(await holdfast.reservations.slots({ offering: slug, limit: PAGE, cursor: more.value }));
    } catch (error) {
      alert.textContent = explain(error);
    }
  }

  async function showAgain(chosen) {
    const page = await holdfast.reservations.slots({ offering: slug, limit: PAGE });
    slots.clear();
    times.replaceChildren();
    fill(page);
    const radio = times.querySelector(`[value="${CSS.escape(chosen)}"]:enabled`);
    if (radio) radio.checked = true;
    count_up();
  }

  function wanted() {
    const value = (name) => form.elements.namedItem(name).value.trim();
    const slot = slots.get(form.elements.namedItem("/items/0/slot_id")?.value ?? "");
    const chosen = addOns
      .map(({ addOn }) => ({ id: addOn.id, quantity: Number(value(`add-on/${addOn.id}`)) }))
      .filter(({ quantity }) => quantity > 0);
    return {
      slot,
      request: {
        items: [{ slot_id: slot?.id, units: Number(value("/items/0/units")), add_ons: chosen }],
        customer: {
          email: value("/customer/email"),
          name: value("/customer/name"),
          ...(value("/customer/phone") && { phone: value("/customer/phone") }),
        },
      },
    };
  }

  function count_up() {
    const { slot, request } = wanted();
    const [item] = request.items;
    form.elements.namedItem("/items/0/units").max = Math.min(slot?.units_left ?? MOST, MOST);
    const each = new Map(sold.add_ons.map((addOn) => [addOn.id, addOn.unit_amount]));
    const amount = item.add_ons.reduce(
      (sum, { id, quantity }) => sum + quantity * each.get(id),
      item.units * sold.unit_amount,
    );
    total.textContent = `Total ${money(amount, sold.currency)}`;
  }

  async function submit(event) {
    event.preventDefault();
    const { slot, request } = wanted();
    alert.textContent = "";
    if (!slot) {
      alert.textContent = "Please choose when.";
      times.querySelector("input:enabled")?.focus();
      return;
    }
    const wrong = [...form.elements].filter((control) => control.name && !control.checkValidity());
    if (wrong.length > 0) {
      markFields(form, wrong.map((control) => ({ pointer: control.name, detail: control.validationMessage })));
      return;
    }
    await once(hold, async () => {
      try {
        await giveBackEarlier();
        const held = await holdfast.reservations.hold(request);
        kept.keep(held.id, { token: held.token, offering: sold, slot });
        go("#/checkout");
      } catch (error) {
        alert.textContent = explain(error);
        if (error.slug === "sold-out" || error.slug === "slot-closed") await showAgain(slot.id);
        // The server's words for a field are for programmers.
        markFields(form, error.errors?.map(({ pointer }) => ({ pointer, detail: "Please check this." })) ?? []);
      }
    });
  }
}

/** A tab has one hold: whoever chooses anew does not keep others' seats from them. */
async function giveBackEarlier() {
  const earlier = held();
  if (earlier && !earlier.paying) {
    await earlier.cancel();
  }
}

function number(name, min, max, value) {
  return h("input", { name, type: "number", inputmode: "numeric", required: true, min, max, step: 1, value });
}

import { cardForm } from "/page/card.js";
import { alertLine, h, once } from "/page/dom.js";
import { day, hours, money } from "/page/format.js";
import { explain, go, held, kept, say } from "/page/shop.js";

/** What came of the buyer's way to the bank or to Stripe's page, from the address that Stripe sent them back to. */
export function wayBack(query) {
  const { redirect_status, checkout } = Object.fromEntries(new URLSearchParams(query));
  if (redirect_status === "failed") return { refused: "Your bank did not confirm the payment. Nothing was charged." };
  if (checkout === "cancelled") return { refused: "You came back without paying. Nothing was charged." };
  return redirect_status || checkout === "paid" ? { taken: true } : null;
}

/** What is held, and the ways to pay it; `back` is what `wayBack` has found. */
export async function checkout(back) {
  const hold = held();
  if (!hold) return nothing();
  if (hold.paying) await hold.refresh();
  if (["expired", "cancelled"].includes(hold.reservation.status)) return over();
  const { offering, slot } = kept.of(hold.id);
  const alert = alertLine();
  const giveBack = h("button", { type: "button", class: "quiet", click: () => once(giveBack, cancel) }, "Give it back");
  const onArrival = h(
    "button",
    { type: "button", class: "quiet", click: () => once(onArrival, () => book("pay_on_arrival")) },
    "Pay on arrival",
  );
  const free = h("button", { type: "button", click: () => once(free, () => book("free")) }, "Book");
  const ways = h(
    "div",
    { class: "ways" },
    hold.reservation.amount > 0 ? cardForm(hold, attempt) : free,
    offering?.pay_on_arrival && hold.reservation.amount > 0 && onArrival,
    giveBack,
  );
  if (back?.refused) alert.textContent = back.refused;
  const { status, payment } = hold.reservation;
  if (back?.taken || status === "completed" || payment?.status === "processing") wait();
  return {
    title: "Pay",
    content: [summary(hold.reservation, offering, slot), alert, ways],
  };

  async function attempt(pay) {
    alert.textContent = "";
    try {
      const { taken, refused } = await pay();
      if (refused) alert.textContent = refused;
      if (taken) wait();
    } catch (error) {
      await refusal(error);
    }
  }

  async function book(method) {
    alert.textContent = "";
    try {
      booked(hold, (await hold.book(method)).id);
    } catch (error) {
      await refusal(error);
    }
  }

  async function cancel() {
    try {
      await hold.cancel();
      go("#/", "It was given back. Nothing was charged.");
    } catch (error) {
      await refusal(error);
    }
  }

  async function refusal(error) {
    if (error.slug === "already-paid") return wait();
    if (error.slug === "reservation-expired" || error.slug === "reservation-cancelled") return go("#/over");
    // fetch fails like this where Stripe cannot be reached
    alert.textContent = error instanceof TypeError ? "Stripe does not answer: please try again." : explain(error);
  }

  /** Until Stripe's word has reached the shop, however long that takes. */
  async function wait() {
    ways.hidden = true;
    say("Your payment is being confirmed…");
    try {
      do {
        const { status, booking_id } = await hold.settled();
        if (booking_id) return booked(hold, booking_id);
        if (status !== "active") return go("#/over");
        say("Your payment is still being confirmed. You may leave this page: nothing is lost.");
      } while (ways.isConnected);
    } catch (error) {
      // Whoever pays again then is told what became of the first time.
      ways.hidden = false;
      alert.textContent = explain(error);
    }
  }
}

/** A hold that came to its end without a booking. */
export function over() {
  return {
    title: "This hold is over",
    content: [
      h("p", null, "What you held is on sale again. If you have paid meanwhile, you get your money back."),
      h("p", null, h("a", { href: "#/" }, "See what is on")),
    ],
  };
}

/** What was chosen, in figures. */
export function summary({ items, amount, currency }, offering, slot) {
  const rows = items.flatMap((item) => [
    [offering?.name ?? "Place", item.units, item.unit_amount],
    ...item.add_ons.map((one) => [
      offering?.add_ons.find(({ id }) => id === one.id)?.name ?? "Add-on",
      one.quantity,
      one.unit_amount,
    ]),
  ]);
  return h(
    "table",
    null,
    h("caption", null, slot && offering && `${day(slot, offering.timezone)}, ${hours(slot, offering.timezone)}`),
    h("thead", null, h("tr", null, ["What", "How many", "Price"].map((text) => h("th", { scope: "col" }, text)))),
    h(
      "tbody",
      null,
      rows.map(([name, many, each]) =>
        h("tr", null, h("th", { scope: "row" }, name), h("td", null, many), h("td", null, money(many * each, currency))),
      ),
    ),
    h("tfoot", null, h("tr", null, h("th", { scope: "row", colspan: 2 }, "Total"), h("td", null, money(amount, currency)))),
  );
}

function nothing() {
  return {
    title: "Nothing is held",
    content: [h("p", null, h("a", { href: "#/" }, "See what is on"))],
  };
}

function booked(hold, booking_id) {
  kept.keep(booking_id, { ...kept.of(hold.id), token: hold.token });
  hold.forget();
  go(`#/booking/${booking_id}`);
}

import { summary } from "/page/checkout.js";
import { alertLine, h, once } from "/page/dom.js";
import { money } from "/page/format.js";
import { explain, go, holdfast, kept } from "/page/shop.js";

const PAYMENT = {
  pending: "To be paid on arrival",
  paid: "Paid",
  failed: "The payment failed",
  refunded: "Refunded",
  partially_refunded: "Refunded in part",
  disputed: "The payment is disputed",
  free: "Nothing to pay",
};

/** A booking, and its end. */
export async function booking(id) {
  const { token, offering, slot } = kept.of(id);
  if (!token) return elsewhere();
  let shown = await holdfast.bookings.show(id, token);
  const cancelled = shown.status !== "confirmed";
  const alert = alertLine();
  const reason = h("textarea", { id: "reason", required: true, maxlength: 200, rows: 3 });
  const confirm = h("button", { class: "danger" }, "Cancel it");
  const dialog = h(
    "dialog",
    { "aria-labelledby": "cancel-title" },
    h("h2", { id: "cancel-title" }, "Cancel this booking?"),
    h("p", null, "How much you get back depends on how long it is until then; you will see it at once."),
    h(
      "form",
      { submit },
      h("label", { for: "reason" }, "Why"),
      reason,
      alert,
      h(
        "p",
        { class: "act" },
        h("button", { type: "button", class: "quiet", click: () => dialog.close() }, "Keep it"),
        confirm,
      ),
    ),
  );
  return {
    title: cancelled ? "Cancelled" : "You are booked",
    content: [
      h("p", null, PAYMENT[shown.payment_status]),
      summary(shown, offering, shown.items.length === 1 ? shown.items[0] : slot),
      h("p", { class: "hint" }, `Booking ${id}`),
      !cancelled && h("button", { class: "quiet", click: () => dialog.showModal() }, "Cancel…"),
      dialog,
    ],
  };

  async function submit(event) {
    event.preventDefault();
    await once(confirm, async () => {
      try {
        const { refund } = await holdfast.bookings.cancel(shown, reason.value, token);
        dialog.close();
        go(location.hash, refund ? `${money(refund.amount, shown.currency)} goes back to where it came from.` : "");
      } catch (error) {
        alert.textContent = explain(error);
        if (error.slug === "version-conflict") shown = await holdfast.bookings.show(id, token);
      }
    });
  }
}

/** Whoever has the address alone has not made the booking, or not in this tab. */
function elsewhere() {
  return {
    title: "Not in this tab",
    content: [h("p", null, "A booking is shown in the tab in which it was made.")],
  };
}

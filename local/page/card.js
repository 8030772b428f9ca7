import { h, once } from "/page/dom.js";
import { money } from "/page/format.js";
import { settings } from "/page/shop.js";

/** Where Stripe sends a buyer back to whose bank wanted to be asked. */
const BACK = `${location.origin}/#/checkout`;
// Paid, or with the bank, before the page was loaded anew: nothing is left to do here.
const TAKEN = ["succeeded", "processing"];

/**
 * The way to pay that this cloud has. `attempt` is given what pays: it resolves to `taken`, or why it was `refused`, or to
 * neither where the buyer goes on elsewhere.
 */
export function cardForm(hold, attempt) {
  return { emulator, elements, checkout }[settings.stripe.kind](hold, attempt);
}

/** The emulator's form: Stripe's test cards by name, because no real one belongs here. */
function emulator(hold, attempt) {
  const { api_base, publishable_key, cards } = settings.stripe;
  const card = h(
    "select",
    { id: "card" },
    cards.map(({ id, label }) => h("option", { value: id }, label)),
  );
  const pay = payButton(hold);
  const submit = (event) => {
    event.preventDefault();
    return once(pay, () => attempt(confirm));
  };
  return h("form", { submit }, h("div", { class: "field" }, h("label", { for: "card" }, "Test card"), card), pay);

  async function confirm() {
    const payment = await hold.pay();
    if (TAKEN.includes(payment.status)) return { taken: true };
    const answer = await fetch(`${api_base}/v1/payment_intents/${payment.payment_intent_id}/confirm`, {
      method: "POST",
      body: new URLSearchParams({
        key: publishable_key,
        client_secret: payment.client_secret,
        payment_method: card.value,
        return_url: BACK,
      }),
    });
    const { error, next_action } = await answer.json();
    if (next_action?.redirect_to_url) {
      location.assign(next_action.redirect_to_url.url);
      return {};
    }
    return error ? { refused: error.message } : { taken: true };
  }
}

/** Stripe's Payment Element, https://docs.stripe.com/payments/payment-element: Stripe's frame, Stripe's script. */
function elements(hold, attempt) {
  const place = h("div");
  const pay = payButton(hold);
  const start = h("button", { type: "button", click: () => once(start, () => attempt(open)) }, "Pay by card");
  const submit = (event) => {
    event.preventDefault();
    return once(pay, () => attempt(confirm));
  };
  const form = h("form", { submit, hidden: true }, place, pay);
  let stripe, group;
  return h("div", null, start, form);

  async function open() {
    const [payment] = await Promise.all([hold.pay(), loaded(settings.stripe.script)]);
    if (TAKEN.includes(payment.status)) return { taken: true };
    stripe = window.Stripe(settings.stripe.publishable_key);
    group = stripe.elements({ clientSecret: payment.client_secret });
    group.create("payment").mount(place);
    start.hidden = true;
    form.hidden = false;
    return {};
  }

  async function confirm() {
    const { error } = await stripe.confirmPayment({
      elements: group,
      confirmParams: { return_url: BACK },
      redirect: "if_required",
    });
    return error ? { refused: error.message } : { taken: true };
  }
}

/** Stripe's own page, where there is no key that this one could use. */
function checkout(hold, attempt) {
  const pay = payButton(hold);
  pay.addEventListener("click", () => once(pay, () => attempt(leave)));
  return pay;

  async function leave() {
    const { url } = await hold.pay({ mode: "checkout_session" });
    if (!url) return { taken: true };
    location.assign(url);
    return {};
  }
}

function payButton({ reservation }) {
  return h("button", null, `Pay ${money(reservation.amount, reservation.currency)}`);
}

function loaded(source) {
  return new Promise((resolve, reject) => {
    const failed = () => reject(new TypeError("Stripe's script could not be loaded."));
    document.head.append(h("script", { src: source, load: resolve, error: failed }));
  });
}

import { booking } from "/page/booking.js";
import { checkout, over, wayBack } from "/page/checkout.js";
import { offering, offerings } from "/page/choosing.js";
import { h } from "/page/dom.js";
import { clock, count } from "/page/format.js";
import { go, held, holdfast, nextSaid, say, settings } from "/page/shop.js";

const WARNINGS = [5, 1]; // minutes before the end of a hold
const NOTES = {
  emulator: "The storefront of a cloud on one machine: Stripe is emulated, and no money moves.",
  elements: "The storefront of a cloud on one machine, with Stripe in test mode: no money moves.",
  checkout: "The storefront of a cloud on one machine, with Stripe in test mode: no money moves.",
};

const main = document.getElementById("main");
const countdown = document.getElementById("countdown");
let back = wayBack(location.search);
let shown = 0;
let stopCounting = () => {};
let counted = null;

const view = holdfast.errors.boundary(
  (hash) => {
    const [, name = "", argument = ""] = hash.split("/");
    const known = decodeURIComponent(argument);
    if (name === "o") return offering(known);
    if (name === "booking") return booking(known);
    if (name === "over") return over();
    if (name !== "checkout") return offerings();
    const found = checkout(back);
    back = null;
    return found;
  },
  () => ({
    title: "This did not work",
    content: [
      h("p", null, "There is no answer, or none that could be shown. It has been reported."),
      h("button", { click: () => go(location.hash) }, "Try again"),
    ],
  }),
);

async function show() {
  const turn = ++shown;
  main.setAttribute("aria-busy", "true");
  say(nextSaid());
  const { title, content } = await view(location.hash);
  if (turn !== shown) return;
  const heading = h("h1", { tabindex: -1 }, title);
  document.title = `${title} · Holdfast`;
  main.replaceChildren(heading, ...content.filter(Boolean));
  main.removeAttribute("aria-busy");
  if (turn > 1) heading.focus(); // a page that has just come begins at its top
  countDown();
}

/** Shows how long the hold still is, on every view; and says so where it gets short. */
function countDown() {
  const hold = held();
  if (hold?.id === counted) return;
  stopCounting();
  counted = hold?.id ?? null;
  countdown.hidden = !hold;
  if (!hold) return;
  const left = h("a", { href: "#/checkout" });
  countdown.replaceChildren(left);
  const stopLeaving = hold.cancelOnLeaving();
  let warned = Math.ceil(hold.remaining() / 60_000);
  const stopTicking = hold.countdown((remaining) => {
    left.textContent = `Held for you: ${clock(remaining)}`;
    const minutes = Math.ceil(remaining / 60_000);
    if (minutes < warned && WARNINGS.includes(minutes)) say(`Your hold ends in ${count(minutes, "minute")}.`);
    warned = minutes;
    if (remaining === 0) end(hold);
  });
  stopCounting = () => {
    stopTicking();
    stopLeaving();
  };
}

function end(hold) {
  countdown.hidden = true;
  if (hold.paying) return;
  hold.forget();
  if (location.hash === "#/checkout") go("#/over");
}

holdfast.errors.watch();
document.getElementById("note").textContent = NOTES[settings.stripe.kind];
// What Stripe has appended is read, and is nobody's business any more: a secret is in it.
if (location.search) history.replaceState(null, "", back ? "/#/checkout" : `/${location.hash}`);
addEventListener("hashchange", show);
await show();

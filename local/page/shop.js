import { Problem, Unreachable, createHoldfast } from "/browser/holdfast.js";

export const holdfast = createHoldfast({ release: "storefront" });
export const settings = await (await fetch("/page/settings.json")).json();

/** Says something to everybody, also to who does not see the page. */
export function say(text) {
  document.getElementById("status").textContent = text;
}

let current = null;

/** The hold of this tab, the same object wherever it is asked for: what begins in one view, the others know. */
export function held() {
  const recalled = holdfast.reservations.recall();
  if (recalled?.id !== current?.id) current = recalled;
  return current;
}

let next = "";

/** What the view that comes next begins with. */
export function nextSaid() {
  const said = next;
  next = "";
  return said;
}

/** Goes to a view, and shows it again where it is shown already; `text` is said there. */
export function go(hash, text = "") {
  next = text;
  if (location.hash === hash) dispatchEvent(new HashChangeEvent("hashchange"));
  else location.hash = hash;
}

/** What a buyer reads of a refusal; anything that is none is a fault of the page, and goes on to whoever watches. */
export function explain(error) {
  if (error instanceof Unreachable) return "There is no answer. Nothing is done twice: please try again.";
  if (!(error instanceof Problem)) throw error;
  if (error.slug === "too-many-requests") return `Too many tries: please wait ${error.retryAfter ?? 60} seconds.`;
  return error.body.detail ?? error.title;
}

/** What this tab knows of a hold or a booking and the API does not tell: its token, its offering, when it is. */
export const kept = {
  of: (id) => JSON.parse(sessionStorage.getItem(`storefront:${id}`)) ?? {},
  keep: (id, known) => sessionStorage.setItem(`storefront:${id}`, JSON.stringify(known)),
};

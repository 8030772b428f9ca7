const LANGUAGE = "en-GB";
// https://docs.stripe.com/currencies: where Stripe does not count as ISO 4217 does.
const DECIMALS = { isk: 2, mga: 0, ugx: 2 };

/** An amount of minor units as people read it. */
export function money(amount, currency) {
  const format = new Intl.NumberFormat(LANGUAGE, { style: "currency", currency });
  const decimals = DECIMALS[currency] ?? format.resolvedOptions().maximumFractionDigits;
  return format.format(amount / 10 ** decimals);
}

/** The day of a slot, where it takes place. */
export function day({ starts_at }, timeZone) {
  const format = { weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone };
  return new Intl.DateTimeFormat(LANGUAGE, format).format(new Date(starts_at));
}

/** From when to when a slot is, with the time zone. */
export function hours({ starts_at, ends_at }, timeZone) {
  const format = { hour: "2-digit", minute: "2-digit", timeZone, timeZoneName: "short" };
  return new Intl.DateTimeFormat(LANGUAGE, format).formatRange(new Date(starts_at), new Date(ends_at));
}

/** Milliseconds as minutes and seconds. */
export function clock(milliseconds) {
  const seconds = Math.ceil(milliseconds / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** A number of things. */
export function count(number, thing) {
  return `${number} ${thing}${number === 1 ? "" : "s"}`;
}

/**
 * Holdfast in a page: what is on sale, holding and paying it, the booking, and what goes wrong.
 *
 * Amounts are integers in the currency's minor unit, times RFC 3339 in UTC. A page needs a secure context (https, or
 * localhost). Every call ends within 10 s a try and 30 s in all; what may be repeated is, under its own idempotency key,
 * after a broken connection, a 502, 503 or 504, and a 409 that says that somebody is at it. Whatever else is refused is a
 * `Problem`, and what cannot be reached `Unreachable`.
 */

export type FunctionName = "reservations" | "create-payment-intent" | "bookings" | "sessions" | "log-error";

export interface Options {
  /** Where the functions are, each under its name; left out: the page's own origin. */
  base?: string;
  /** Addresses of the functions that have one of their own. */
  functions?: Partial<Record<FunctionName, string>>;
  /** Which build of the page this is; error reports name it. */
  release?: string;
}

export function createHoldfast(options?: Options): Holdfast;

export interface Holdfast {
  readonly reservations: Reservations;
  readonly bookings: Bookings;
  readonly sessions: Sessions;
  readonly errors: Errors;
  /** Milliseconds since 1970 by the server's clock, a second ahead of it at most; the browser's, until a call was answered. */
  serverTime(): number;
}

/** A refusal (RFC 9457), or any other answer that is no success: then `slug` is "". */
export class Problem extends Error {
  readonly status: number;
  /** What it is, such as "sold-out": the tail of the problem's type. */
  readonly slug: string;
  readonly title: string;
  /** What the server's log, audit and traces name this call by. */
  readonly requestId: string | null;
  /** Seconds after which it may be tried again. */
  readonly retryAfter: number | null;
  /** Of a 422: which fields are wrong. */
  readonly errors: { pointer: string; detail: string }[];
  /** The whole answer, with the problem's own members (`left` of "sold-out", `version` of "version-conflict"). */
  readonly body: Record<string, unknown>;
}

/** No answer: the connection broke, or nothing came in time. Whether the call was done is not known. */
export class Unreachable extends Error {
  readonly timedOut: boolean;
}

export interface Reservations {
  offerings(): Promise<Offering[]>;
  slots(query: SlotsQuery): Promise<{ slots: Slot[]; next?: string }>;
  /** Holds all of it or nothing; the tab remembers the hold until it has expired, or was cancelled or forgotten. */
  hold(request: HoldRequest): Promise<Hold>;
  /** The hold that this tab remembers, as it was last seen: after a reload, or back from Stripe's page. */
  recall(): Hold | null;
}

export interface Hold {
  readonly id: string;
  /** The only thing that shows, pays and cancels it. */
  readonly token: string;
  /** As it was last seen. */
  readonly reservation: Reservation;
  /** Whether paying or booking has begun, in this page or before a reload: nothing cancels it on leaving any more. */
  readonly paying: boolean;
  /** Asks the server. */
  refresh(): Promise<Reservation>;
  /** The hold's one live payment, made now or already there, of the amount that was shown. */
  pay(options?: { mode?: "payment_intent" | "checkout_session" }): Promise<Payment>;
  /** Books it without a payment. */
  book(method: "pay_on_arrival" | "credits" | "free"): Promise<Booking>;
  /** Waits until it is settled: booked, cancelled or over; after 30 s as it is then. */
  settled(): Promise<Reservation>;
  cancel(): Promise<void>;
  /** Milliseconds until it is over, by the server's clock; never below 0. */
  remaining(): number;
  /**
   * Tells the remaining milliseconds now, every second, and whenever the page is seen again; 0 once, at the end, whether it
   * is over or was ended otherwise. Returns what stops it.
   */
  countdown(tick: (remaining: number) => void): () => void;
  /**
   * Cancels the hold when the page is left for another site or closed: not for a page of the same site, not on a reload by
   * keys or by a script, and never once paying has begun. The browser's own button for reloading looks like leaving: then
   * `recall` answers a cancelled hold, so that the page can say so, and hold the same again.
   *
   * A browser without a Navigation API does not say where a page goes. There the hold stays where the browser keeps the page
   * to come back to, and within 10 s of any click but one on a link to another site; a script that reloads the page, or
   * moves it on, without a click looks like leaving: stop this before. Returns what stops it.
   */
  cancelOnLeaving(): () => void;
  /** The tab does not remember it any more; the hold itself stays. */
  forget(): void;
}

export interface Bookings {
  /** A booking, to the holder of its hold's token, or to whoever is signed in and owns it. */
  show(id: string, token?: string): Promise<Booking>;
  /** `booking` is the version that was seen: a `Problem` "version-conflict" where it has changed since. */
  cancel(booking: Pick<Booking, "id" | "version">, reason: string, token?: string): Promise<Booking>;
  /** Moves a line to another slot of its offering; `item_id` is needed where there are several. */
  reschedule(
    booking: Pick<Booking, "id" | "version">,
    to: { slot_id: string; item_id?: string },
    token?: string,
  ): Promise<Booking>;
}

export interface Sessions {
  /** Exchanges an identity provider's token for the session's cookie; for pages behind one domain with the functions. */
  begin(bearer: string): Promise<void>;
  end(): Promise<void>;
  /** Sends this token with every call, kept in memory alone; for pages on another domain. null: no more. */
  bearer(token: string | null): void;
}

export type Severity = "debug" | "info" | "warning" | "error" | "critical";

export interface Errors {
  /** Reports what nobody catches in the page, and keeps breadcrumbs of clicks. Returns what stops it. */
  watch(): () => void;
  /**
   * Reports an error; never throws, and never reports its own failure. At most 10 a minute are sent, the next one says how
   * many were not.
   */
  report(error: unknown, options?: ReportOptions): Promise<void>;
  /** What happened before; the last 30 go with a report, those of calls by themselves. */
  breadcrumb(category: string, message: string, data?: Record<string, unknown>): void;
  /** Who sees the page: an id that says nothing by itself, no name and no address. */
  setUser(user: { id: string }): void;
  clearUser(): void;
  /**
   * `render`, whose failure is reported and answered by `fallback` instead; `again` calls it once more. Either may be
   * asynchronous.
   */
  boundary<A extends unknown[], R>(
    render: (...args: A) => R,
    fallback: (error: unknown, again: () => R) => R,
  ): (...args: A) => R;
}

export interface ReportOptions {
  /** "error", where it is left out. */
  severity?: Severity;
  /** Part of the page, such as "checkout". */
  function_name?: string;
  context?: Record<string, unknown>;
  /** What makes two reports the same error, where the page knows better. */
  fingerprint?: string[];
}

export interface AddOn {
  id: string;
  name: string;
  unit_amount: number;
}

export interface Offering {
  slug: string;
  name: string;
  kind: "ticket" | "class" | "appointment" | "package";
  unit_amount: number;
  currency: string;
  credits_price: number | null;
  timezone: string;
  pay_on_arrival: boolean;
  add_ons: AddOn[];
}

export interface SlotsQuery {
  offering: string;
  from?: string;
  to?: string;
  /** The last page's `next`. */
  cursor?: string;
  limit?: number;
}

export interface Slot {
  id: string;
  offering: string;
  starts_at: string;
  ends_at: string;
  units_left: number;
  bookings_left: number;
}

export interface HoldRequest {
  items: { slot_id: string; units: number; add_ons?: { id: string; quantity: number }[] }[];
  customer: { email: string; name: string; phone?: string };
}

export interface Item {
  id: string;
  slot_id: string;
  units: number;
  unit_amount: number;
  add_ons: { id: string; quantity: number; unit_amount: number }[];
}

export interface Reservation {
  id: string;
  status: "active" | "expired" | "completed" | "cancelled";
  expires_at: string;
  amount: number;
  currency: string;
  items: Item[];
  payment?: {
    payment_id: string;
    mode: "payment_intent" | "checkout_session";
    status: string;
    amount: number;
    currency: string;
  };
  booking_id?: string;
}

export interface Payment {
  payment_id: string;
  amount: number;
  currency: string;
  status: string;
  expires_at: string;
  /** In the mode "payment_intent": what Stripe's form is given. */
  payment_intent_id?: string;
  client_secret?: string;
  /** In the mode "checkout_session": where the buyer is sent. */
  checkout_session_id?: string;
  url?: string;
}

export interface Booking {
  id: string;
  reservation_id: string;
  status: "confirmed" | "cancelled" | "frozen" | "revoked";
  payment_method: "pay_now" | "pay_on_arrival" | "credits" | "free";
  payment_status: "pending" | "paid" | "failed" | "refunded" | "partially_refunded" | "disputed" | "free";
  amount: number;
  currency: string;
  credits?: number;
  version: number;
  created_at: string;
  cancelled_at?: string;
  items: (Item & { starts_at: string; ends_at: string })[];
  /** Of one that was just cancelled: what goes back. */
  refund?: { amount: number } & Record<string, unknown>;
  returned_credits?: number;
}

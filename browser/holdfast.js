// Holdfast in a page; holdfast.d.ts says what each of these promises. No dependency, no build: copy both files.

const TRY_MS = 10_000;
const PATIENCE_MS = 30_000;
const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 2_000;
const SECOND_MS = 1_000;

const REPORTS = 10;
const REPORTS_WITHIN_MS = 60_000;
const BREADCRUMBS = 30;
// In characters, which have up to three bytes: log-error takes 64 KiB, and a browser no more of all that outlives a page.
const LONGEST = { message: 2_000, stack: 8_000, text: 300, name: 200, url: 1_000, report: 20_000 };
const WIDEST = 30;
const DEEPEST = 4;

// Somebody is at it, or it was not even begun: the same again will do.
const COME_AGAIN = new Set(["request-in-progress", "lock-timeout"]);
// Nobody knows whether it was done.
const UNSURE = new Set([502, 504]);

export class Problem extends Error {
  constructor(status, body, headers) {
    super(body.detail ?? body.Message ?? `The answer was ${status}.`);
    this.name = "Problem";
    this.status = status;
    this.body = body;
    this.slug = String(body.type ?? "").split("/problems/")[1] ?? "";
    this.title = body.title ?? this.message;
    this.errors = body.errors ?? [];
    this.requestId = headers.get("X-Request-Id") ?? body.instance ?? null;
    const seconds = Number.parseInt(headers.get("Retry-After") ?? "", 10);
    this.retryAfter = Number.isNaN(seconds) ? null : seconds;
  }
}

export class Unreachable extends Error {
  constructor(name, timedOut) {
    super(timedOut ? `${name} did not answer in time.` : `${name} could not be reached.`);
    this.name = "Unreachable";
    this.timedOut = timedOut;
  }
}

export function createHoldfast(options = {}) {
  const tab = rememberingTab();
  const scrub = scrubber();
  const clock = serverClock();
  const trail = breadcrumbs(scrub);
  const address = (name, path) =>
    (options.functions?.[name] ?? `${options.base ?? ""}/${name}`).replace(/\/$/, "") + path;
  const sender = callsOf(address, { tab, scrub, clock, trail });
  return {
    reservations: reservationsOf(sender, { address, tab, scrub, clock }),
    bookings: bookingsOf(sender),
    sessions: sessionsOf(sender),
    errors: errorsOf(address("log-error", "/"), { scrub, trail, release: options.release }),
    serverTime: clock.now,
  };
}

// ---- Calls -------------------------------------------------------------------------------------------------------

function callsOf(address, { tab, scrub, clock, trail }) {
  const running = new Map();
  let bearer = null;
  scrub.learn(tab.get("csrf"));

  function headersOf(method, { body, token, version, key }) {
    const csrf = tab.get("csrf");
    return {
      ...(body && { "Content-Type": "application/json" }),
      ...(token && { "X-Reservation-Token": token }),
      ...(version && { "If-Match": `"${version}"` }),
      ...(key && { "Idempotency-Key": key }),
      ...(bearer && { Authorization: `Bearer ${bearer}` }),
      ...(csrf && method !== "GET" && { "X-CSRF-Token": csrf }),
    };
  }

  async function ask(name, method, path, call, longest) {
    const began = performance.now();
    const [signal, done] = within(longest);
    const told = (outcome) => {
      const ms = Math.round(performance.now() - began);
      trail.add("call", `${method} /${name}${path.split("?")[0]}`, { ...outcome, ms });
    };
    try {
      const response = await fetch(address(name, path), {
        method,
        headers: { ...headersOf(method, call), ...call.headers },
        body: call.body && JSON.stringify(call.body),
        cache: "no-store",
        signal,
      });
      clock.heard(response.headers.get("Date"), began, performance.now());
      const text = await response.text();
      told({ status: response.status, request_id: response.headers.get("X-Request-Id") });
      if (response.ok) return JSON.parse(text);
      throw new Problem(response.status, parsed(text), response.headers);
    } catch (failure) {
      if (failure instanceof Problem) throw failure;
      told({ failure: failure.name });
      throw new Unreachable(name, signal.aborted);
    } finally {
      done();
    }
  }

  // `repeatable`: doing it twice is doing it once, so that it may be sent again where nobody knows whether it was done.
  async function send(name, method, path, call) {
    const giveUpAt = performance.now() + PATIENCE_MS;
    const repeatable = method !== "POST" || call.key || call.repeatable;
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      try {
        return await ask(name, method, path, call, Math.min(TRY_MS, giveUpAt - performance.now()));
      } catch (failure) {
        const unsure = failure instanceof Unreachable || UNSURE.has(failure.status);
        if (unsure ? !repeatable : !comesAgain(failure)) throw failure;
        // Others were refused at the same moment: they shall not all come back at one.
        const wait = Math.max((failure.retryAfter ?? 0) * SECOND_MS, pause * (0.5 + Math.random()));
        if (performance.now() + wait > giveUpAt) throw failure;
        await new Promise((resume) => setTimeout(resume, wait));
      }
    }
  }

  // What creates something goes under a key that stands for the intention: a second click and a reload find the first, and
  // only once the answer is definite is the same request a new one.
  async function underItsKey(intention, act) {
    const place = `key.${await digest(intention)}`;
    const key = tab.get(place) ?? crypto.randomUUID();
    tab.set(place, key);
    try {
      const answer = await act(key);
      tab.remove(place);
      return answer;
    } catch (failure) {
      if (isDefinite(failure)) tab.remove(place);
      throw failure;
    }
  }

  function create(name, path, { body, token, then }) {
    const intention = JSON.stringify([name, path, body]);
    if (!running.has(intention)) {
      const act = async (key) => then(await send(name, "POST", path, { body, key, token }));
      const made = underItsKey(intention, act);
      running.set(intention, made.finally(() => running.delete(intention)));
    }
    return running.get(intention);
  }

  return {
    get: (name, path, call = {}) => send(name, "GET", path, call),
    remove: (name, path, call = {}) => send(name, "DELETE", path, call),
    post: (name, path, call = {}) => send(name, "POST", path, call),
    create,
    headersOf,
    bearer: (token) => {
      bearer = token;
      scrub.learn(token);
    },
    csrf: (token) => {
      if (token) tab.set("csrf", token);
      else tab.remove("csrf");
      scrub.learn(token);
    },
  };
}

// What ends a call after so many milliseconds, its body included, and what takes that back.
function within(milliseconds) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), milliseconds);
  return [controller.signal, () => clearTimeout(timer)];
}

// A throttled Lambda (429 without a problem) has not run at all; our own limits mean what they say.
function comesAgain({ status, slug }) {
  return status === 503 || COME_AGAIN.has(slug) || (status === 429 && slug === "");
}

function isDefinite(failure) {
  return failure instanceof Problem && failure.status < 500 && failure.status !== 429 && !COME_AGAIN.has(failure.slug);
}

// What stands between a page and a function may answer for it, in HTML.
function parsed(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

async function digest(text) {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// What the tab keeps over a reload; for the page's life alone where the browser keeps nothing for it.
function rememberingTab() {
  try {
    const storage = window.sessionStorage;
    storage.setItem("holdfast.probe", "");
    storage.removeItem("holdfast.probe");
    return {
      get: (name) => storage.getItem(`holdfast.${name}`),
      set: (name, value) => storage.setItem(`holdfast.${name}`, value),
      remove: (name) => storage.removeItem(`holdfast.${name}`),
    };
  } catch {
    const kept = new Map();
    return {
      get: (name) => kept.get(name) ?? null,
      set: (name, value) => kept.set(name, value),
      remove: (name) => kept.delete(name),
    };
  }
}

// The server's clock, read off its answers' Date, which tells whole seconds. Each narrows how far the browser's steady clock
// is behind; of what is left the far end is taken, so that a countdown may end a moment early, and never late.
function serverClock() {
  let least = -Infinity;
  let most = Infinity;
  return {
    heard(date, sent, received) {
      const told = Date.parse(date ?? "");
      if (Number.isNaN(told)) return;
      const [low, high] = [told - received, told + SECOND_MS - sent];
      // The steady clock stands still while some machines sleep: then what was known before is wrong.
      [least, most] = low > most || high < least ? [low, high] : [Math.max(least, low), Math.min(most, high)];
    },
    now: () => (most === Infinity ? Date.now() : performance.now() + most),
  };
}

// ---- Reservations ------------------------------------------------------------------------------------------------

function reservationsOf(sender, { address, tab, scrub, clock }) {
  const holdOf = (reservation, token, paying) => {
    scrub.learn(token);
    return makeHold(sender, { address, tab, clock }, { reservation, token, paying });
  };
  return {
    offerings: async () => (await sender.get("reservations", "/offerings")).offerings,
    slots: (query) => {
      const given = Object.entries(query).filter(([, value]) => value !== undefined);
      return sender.get("reservations", `/slots?${new URLSearchParams(given)}`);
    },
    hold: (request) => {
      Object.values(request.customer).forEach(scrub.learn);
      return sender.create("reservations", "/reservations", {
        body: request,
        then: ({ token, ...reservation }) => {
          const hold = holdOf(reservation, token, false);
          hold.remember();
          return hold.shown;
        },
      });
    },
    recall: () => {
      const kept = JSON.parse(tab.get("hold") ?? "null");
      return kept && holdOf(kept.reservation, kept.token, kept.paying).shown;
    },
  };
}

function makeHold(sender, { address, tab, clock }, { reservation, token, paying }) {
  const { id } = reservation;
  const path = `/reservations/${id}`;
  const remembered = () => {
    const kept = JSON.parse(tab.get("hold") ?? "null");
    return kept?.reservation.id === id ? kept : null;
  };
  const isRemembered = () => remembered() !== null;
  // Another object of the same hold, one that was recalled, may have begun.
  const isPaying = () => paying || remembered()?.paying === true;
  const remember = () => tab.set("hold", JSON.stringify({ reservation, token, paying: isPaying() }));
  const forget = () => isRemembered() && tab.remove("hold");
  const seen = (changes) => {
    reservation = { ...reservation, ...changes };
    if (["expired", "cancelled"].includes(reservation.status)) forget();
    else if (isRemembered()) remember();
    return reservation;
  };
  const begin = () => {
    paying = true;
    seen({});
  };
  const shown = {
    id,
    token,
    get reservation() {
      return reservation;
    },
    get paying() {
      return isPaying();
    },
    refresh: async () => seen(await sender.get("reservations", path, { token })),
    pay: ({ mode = "payment_intent" } = {}) => {
      begin();
      const expected = { expected_amount: reservation.amount, expected_currency: reservation.currency };
      return sender.create("create-payment-intent", "/", {
        body: { reservation_id: id, mode, ...expected },
        token,
        then: (payment) => {
          seen({ expires_at: payment.expires_at });
          return payment;
        },
      });
    },
    book: (method) => {
      begin();
      return sender.create("bookings", "/bookings", {
        body: { reservation_id: id, payment_method: method },
        token,
        then: (booking) => {
          seen({ status: "completed", booking_id: booking.id });
          return booking;
        },
      });
    },
    settled: async () => {
      const giveUpAt = performance.now() + PATIENCE_MS;
      for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
        const now = await shown.refresh();
        if (now.status !== "active" || performance.now() + pause > giveUpAt) return now;
        await new Promise((resume) => setTimeout(resume, pause));
      }
    },
    cancel: async () => {
      await sender.remove("reservations", path, { token });
      seen({ status: "cancelled" });
    },
    remaining: () => {
      const left = Math.round(Date.parse(reservation.expires_at) - clock.now());
      return reservation.status === "active" ? Math.max(0, left) : 0;
    },
    countdown: (tick) => countDown(shown, tick),
    // A page that is gone hears no answer, and the next one does not wait for it.
    cancelOnLeaving: () =>
      whenLeaving(() => {
        if (isPaying() || reservation.status !== "active") return;
        const headers = sender.headersOf("DELETE", { token });
        fetch(address("reservations", path), { method: "DELETE", headers, keepalive: true }).catch(() => {});
        reservation = { ...reservation, status: "cancelled" };
        // If this was a reload after all, the page can say what became of its seats, and hold them again.
        if (isRemembered()) remember();
      }),
    forget,
  };
  return { shown, remember };
}

function countDown(hold, tick) {
  let timer;
  const beat = () => {
    clearTimeout(timer);
    const left = hold.remaining();
    if (left === 0) stop();
    else timer = setTimeout(beat, left % SECOND_MS || SECOND_MS);
    tick(left);
  };
  // A tab that nobody saw has slept, or the machine has, and meanwhile the hold was paid in another one: the server knows.
  let stopped = false;
  const unlisten = listen(document, "visibilitychange", () => {
    if (document.visibilityState === "visible") hold.refresh().then(() => stopped || beat(), () => {});
  });
  const stop = () => {
    stopped = true;
    clearTimeout(timer);
    unlisten();
  };
  beat();
  return stop;
}

// Runs `act` when the page goes, unless it goes to a page of the same site, itself included. The Navigation API tells where.
// Without it a page that goes soon after a click that leads to no other site is taken to stay. Of what a person does outside
// the page (closes it, types an address, or uses the browser's own button to reload it) nothing tells; of a reload by keys,
// the keys do.
function whenLeaving(act) {
  const told = window.navigation !== undefined;
  let staying = false;
  let timer;
  const goesTo = (origin) => {
    staying = origin === location.origin;
    clearTimeout(timer);
    if (!told) timer = setTimeout(() => (staying = false), TRY_MS);
  };
  const ways = told
    ? [
        listen(window.navigation, "navigate", ({ destination, downloadRequest }) => {
          if (!destination.sameDocument && downloadRequest === null) goesTo(new URL(destination.url).origin);
        }),
        // The page went nowhere after all: it went on by itself, or whatever it went to did not come.
        listen(window.navigation, "navigatesuccess", () => (staying = false)),
        listen(window.navigation, "navigateerror", () => (staying = false)),
      ]
    : [
        // Of whatever else is clicked a script may make the page go on.
        listen(document, "click", ({ target }) => goesTo((target.closest?.("a[href]") ?? location).origin), true),
      ];
  const stops = [
    ...ways,
    listen(window, "keydown", ({ key, ctrlKey, metaKey }) => {
      if (key === "F5" || (key.toLowerCase() === "r" && (ctrlKey || metaKey))) goesTo(location.origin);
    }),
    // A page that the browser keeps may be on its way anywhere, and come back.
    listen(window, "pagehide", ({ persisted }) => staying || (persisted && !told) || act()),
  ];
  return () => stops.forEach((stop) => stop());
}

function listen(target, name, listener, capture = false) {
  target.addEventListener(name, listener, capture);
  return () => target.removeEventListener(name, listener, capture);
}

// ---- Bookings and sessions ---------------------------------------------------------------------------------------

function bookingsOf(sender) {
  const change = (booking, what, body, token) =>
    sender.post("bookings", `/bookings/${booking.id}/${what}`, { body, token, version: booking.version });
  return {
    show: (id, token) => sender.get("bookings", `/bookings/${id}`, { token }),
    cancel: (booking, reason, token) => change(booking, "cancel", { reason }, token),
    reschedule: (booking, to, token) => change(booking, "reschedule", to, token),
  };
}

function sessionsOf(sender) {
  return {
    begin: async (bearer) => {
      const call = { headers: { Authorization: `Bearer ${bearer}` }, repeatable: true };
      sender.csrf((await sender.post("sessions", "/", call)).csrf);
    },
    end: async () => {
      await sender.remove("sessions", "/");
      sender.csrf(null);
    },
    bearer: sender.bearer,
  };
}

// ---- What goes wrong ---------------------------------------------------------------------------------------------

function errorsOf(url, { scrub, trail, release }) {
  const known = new WeakSet();
  let sentAt = [];
  let heldBack = 0;
  let user = null;

  function bodyOf(error, { severity = "error", function_name, context, fingerprint }) {
    const isError = error instanceof Error || typeof error?.stack === "string";
    const message = isError ? `${error.name}: ${error.message}` : String(error?.message ?? error);
    return {
      message: scrub(message, LONGEST.message) || "(no message)",
      ...(isError && { stack: scrub(error.stack ?? "", LONGEST.stack) }),
      severity,
      ...(function_name && { function_name: scrub(function_name, LONGEST.name) }),
      source: "frontend",
      ...(release && { release }),
      // Stripe's redirects carry a client secret in the query, and a link in a mail may carry anything.
      url: scrub(location.origin + location.pathname, LONGEST.url),
      context: scrub.values({
        ...context,
        ...(user && { user }),
        ...(error instanceof Problem && { request_id: error.requestId, status: error.status }),
        ...(heldBack > 0 && { held_back: heldBack }),
        breadcrumbs: trail.all(),
      }),
      ...(fingerprint && { fingerprint }),
    };
  }

  // Nobody is told of a report that fails: that could go on for ever.
  async function report(error, options = {}) {
    const [signal, done] = within(TRY_MS);
    try {
      if (error instanceof Object) {
        if (known.has(error)) return;
        known.add(error);
      }
      const now = performance.now();
      sentAt = sentAt.filter((at) => now - at < REPORTS_WITHIN_MS);
      if (sentAt.length >= REPORTS) {
        heldBack += 1;
        return;
      }
      sentAt.push(now);
      const told = bodyOf(error, options);
      const whole = JSON.stringify(told);
      const body = whole.length > LONGEST.report ? JSON.stringify({ ...told, context: {} }) : whole;
      heldBack = 0;
      const headers = { "Content-Type": "application/json" };
      await fetch(url, { method: "POST", headers, body, keepalive: true, signal });
    } catch {
      // As above.
    } finally {
      done();
    }
  }

  return {
    report,
    watch: () => {
      const stops = [
        listen(window, "error", ({ error, message, filename, lineno, colno }) =>
          // A script of another site says no more than that; a thrown null has no stack either.
          report(error ?? { name: "Error", message, stack: `${message}\n    at ${filename}:${lineno}:${colno}` }),
        ),
        listen(window, "unhandledrejection", ({ reason }) => report(reason)),
        listen(document, "click", ({ target }) => trail.add("click", elementOf(target)), true),
      ];
      return () => stops.forEach((stop) => stop());
    },
    breadcrumb: trail.add,
    setUser: ({ id }) => (user = { id: String(id) }),
    clearUser: () => (user = null),
    boundary: (render, fallback) =>
      function attempt(...given) {
        const failed = (error) => {
          report(error);
          return fallback(error, () => attempt(...given));
        };
        try {
          const made = render(...given);
          return typeof made?.then === "function" ? made.then(undefined, failed) : made;
        } catch (error) {
          return failed(error);
        }
      },
  };
}

function breadcrumbs(scrub) {
  const kept = [];
  return {
    add(category, message, data) {
      kept.push(scrub.values({ at: new Date().toISOString(), category, message, ...(data && { data }) }));
      if (kept.length > BREADCRUMBS) kept.shift();
    },
    all: () => [...kept],
  };
}

// Which control was used, and nothing of what it says or holds.
function elementOf(target) {
  const element = target.closest?.("a, button, input, label, select, textarea, [role]") ?? target;
  const { nodeName, id, name } = element;
  return `${nodeName?.toLowerCase()}${id ? `#${id}` : ""}${name ? `[${name}]` : ""}`;
}

const SECRET_KEY = new RegExp(
  "pass(word|wd|code)|secret|token|api_?key|credential|authorization|cookie|signature|csrf|jwt" +
    "|card|cvc|cvv|iban|e-?mail|phone|(first|last|full|customer)_?name",
  "i",
);
const SECRETS = [
  [/[\da-f]{64,}/gi, "[secret]"],
  [/eyJ[\w-]{8,}(?:\.[\w-]*){0,2}/g, "[secret]"],
  [/\w*_secret_\w+|\b(?:sk|rk|ek|whsec)_\w{8,}/g, "[secret]"],
  [/\b(bearer|basic)\s+[\w.~+/=-]{6,}/gi, "$1 [secret]"],
  [/((?:password|secret|token|api_?key|csrf|signature)["']?\s*[:=]\s*["']?)[^\s"'&,;)}]+/gi, "$1[secret]"],
  [/:\/\/[^\s/?#"'<>]*@/g, "://[secret]@"],
  [/[\w.!#$*^~+-]+(?:@|%40)(?:[\w-]+\.)+[a-z]{2,}/gi, "[email]"],
  [/\+[1-9](?:[ ./()-]{0,2}\d){7,14}/g, "[phone]"],
];
const UUID_OR_CARD = /([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})|\d(?:(?:[\s/_+-]|\.(?!\d{7})){0,2}\d){12,18}/gi;

// Takes out what has no business in a report, before it leaves the page: what can be told by its looks, and what this page
// has been told itself. log-error does so again, and better.
function scrubber() {
  const learned = new Set();
  const scrub = (text, longest = LONGEST.text) => {
    let scrubbed = String(text);
    for (const word of learned) scrubbed = scrubbed.replaceAll(word, "[private]");
    for (const [pattern, instead] of SECRETS) scrubbed = scrubbed.replace(pattern, instead);
    return scrubbed.replace(UUID_OR_CARD, (found, uuid) => (uuid ? found : "[card]")).slice(0, longest);
  };
  // Shorter ones are parts of ordinary words.
  scrub.learn = (word) => typeof word === "string" && word.length >= 4 && learned.add(word);
  scrub.values = (value, depth = 0) => {
    if (value === null || typeof value === "boolean") return value;
    if (typeof value === "number") return scrub(value) === String(value) ? value : "[card]";
    if (typeof value !== "object") return scrub(value);
    if (depth === DEEPEST) return "[cut]";
    if (Array.isArray(value)) return value.slice(-WIDEST).map((each) => scrub.values(each, depth + 1));
    if (Object.getPrototypeOf(value) !== Object.prototype) return scrub(value);
    const members = Object.entries(value).slice(0, WIDEST);
    return Object.fromEntries(
      members.map(([name, each]) => [scrub(name), SECRET_KEY.test(name) ? "[secret]" : scrub.values(each, depth + 1)]),
    );
  };
  return scrub;
}

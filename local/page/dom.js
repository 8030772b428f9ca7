/** An element: functions among the properties listen, the rest are attributes; texts stay texts. */
export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** A labelled control; the API's name of the field, a JSON pointer, is the control's, so that a 422 finds it. */
export function field(label, control, hint) {
  const name = control.name;
  control.id = `field${name.replaceAll("/", "-")}`;
  const described = `${control.id}-hint`;
  control.setAttribute("aria-describedby", described);
  return h(
    "div",
    { class: "field" },
    h("label", { for: control.id }, label),
    control,
    h("p", { id: described, class: "hint" }, hint ?? ""),
  );
}

/** A place for what went wrong: spoken as soon as it is filled. */
export function alertLine() {
  return h("p", { class: "alert", role: "alert" });
}

/** Marks the fields that are wrong, and goes to the first. */
export function markFields(form, errors) {
  const known = errors
    .map(({ pointer, detail }) => ({ control: form.elements.namedItem(pointer), detail }))
    .filter(({ control }) => control instanceof HTMLElement);
  for (const { control, detail } of known) {
    control.setAttribute("aria-invalid", "true");
    document.getElementById(control.getAttribute("aria-describedby")).textContent = detail;
    control.addEventListener("input", () => control.removeAttribute("aria-invalid"), { once: true });
  }
  known[0]?.control.focus();
}

/** Runs `act` unless it is running already, the button saying so: it keeps the focus, which a disabled one would lose. */
export async function once(button, act) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    await act();
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

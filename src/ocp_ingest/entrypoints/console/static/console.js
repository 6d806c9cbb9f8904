// What the console does in the browser beyond htmx: dialogs, keys, copying, notices. Every page
// works without it: forms and links are there already, this makes them quicker.
"use strict";
(() => {
  const one = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  // -- htmx: its requests carry the form token; those of a page by itself keep no session alive ----
  document.addEventListener("htmx:configRequest", (event) => {
    const token = one('meta[name="csrf"]');
    if (token && event.detail.verb !== "get") event.detail.headers["X-CSRF-Token"] = token.content;
    if (!event.detail.triggeringEvent) event.detail.headers["X-Console-Automatic"] = "1";
  });

  // -- notices ---------------------------------------------------------------------------------------
  const notices = one("#notices");
  let lost = null;
  function notice(text, tone) {
    const made = document.createElement("div");
    made.className = `notice notice--${tone}`;
    made.setAttribute("role", tone === "bad" ? "alert" : "status");
    made.textContent = text;
    notices.append(made);
    return made;
  }
  // One notice while the server can't be reached, gone with the next answer.
  document.addEventListener("htmx:sendError", () => {
    lost ??= notice(one("#content").dataset.error, "bad");
  });
  document.addEventListener("htmx:responseError", (event) => {
    const answer = event.detail.xhr;
    const isNotice = (answer.getResponseHeader("Content-Type") || "").startsWith("text/html")
      && answer.responseText.startsWith('<div class="notice');
    if (!isNotice) { lost ??= notice(one("#content").dataset.error, "bad"); return; }
    const parsed = new DOMParser().parseFromString(answer.responseText, "text/html");
    lost?.remove();
    lost = notice(parsed.body.textContent, "bad");
  });
  document.addEventListener("htmx:afterOnLoad", (event) => {
    if (event.detail.xhr.status < 400) { lost?.remove(); lost = null; }
  });

  // -- a form that asks for a reason: its <details> becomes a dialog -----------------------------------
  // A browser says "close" a moment after it closed; who is quicker opens the same form again first.
  let putBack = null;
  document.addEventListener("click", (event) => {
    const summary = event.target.closest("details.ask > summary");
    if (!summary) return;
    event.preventDefault();
    putBack?.();
    const body = one(".ask-body", summary.parentElement);
    if (!body) return;
    const dialog = document.createElement("dialog");
    dialog.className = "dialog";
    const title = document.createElement("h2");
    title.id = `${body.id}-title`;
    title.textContent = body.dataset.title;
    dialog.setAttribute("aria-labelledby", title.id);
    dialog.append(title, ...body.childNodes);
    all("[data-closes]", dialog).forEach((button) => { button.hidden = false; });
    document.body.append(dialog);
    dialog.addEventListener("click", (inside) => {
      if (inside.target.closest("[data-closes]") || inside.target === dialog) dialog.close();
    });
    const mine = () => {
      putBack = null;
      title.remove();
      body.append(...dialog.childNodes);
      dialog.remove();
      summary.focus();
    };
    putBack = mine;
    dialog.addEventListener("close", () => { if (putBack === mine) mine(); });
    dialog.showModal();
    one("textarea, input:not([type=hidden])", dialog)?.focus();
  });
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-opens]");
    if (opener) document.getElementById(opener.dataset.opens)?.showModal();
  });
  // A form is sent once, however often its button is pressed.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    setTimeout(() => { delete form.dataset.sent; }, 5000);
  });
  addEventListener("pageshow", () => all("form[data-sent]").forEach((form) => { delete form.dataset.sent; }));

  // -- copying -------------------------------------------------------------------------------------------
  function reveal(root) {
    if (navigator.clipboard) all("[data-copy]", root).forEach((button) => { button.hidden = false; });
    all("[data-opens]", root).forEach((button) => { button.hidden = false; });
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    const said = one("[role=status]", button), before = said.textContent;
    said.textContent = button.dataset.copied;
    button.dataset.done = "1";
    setTimeout(() => { said.textContent = before; delete button.dataset.done; }, 1500);
  });
  document.addEventListener("htmx:load", (event) => reveal(event.detail.elt));
  reveal(document);

  // -- keys (can be switched off: WCAG 2.1.4) ---------------------------------------------------------------
  const OFF = "ocp-keys-off", G_MS = 1200;
  let afterG = 0;
  const box = one("[data-keys-on]");
  let off = false;
  try { off = localStorage.getItem(OFF) === "1"; } catch { /* storage may be forbidden */ }
  if (box) {
    box.checked = !off;
    box.addEventListener("change", () => {
      off = !box.checked;
      try { off ? localStorage.setItem(OFF, "1") : localStorage.removeItem(OFF); } catch { /* as above */ }
    });
  }
  document.addEventListener("keydown", (event) => {
    if (off || event.ctrlKey || event.metaKey || event.altKey || one("dialog[open]")) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    if (event.key === "/") {
      const field = one("[data-search], input[type=search]");
      const calls = one('[data-go="c"]');
      if (field) field.focus();
      else if (calls) location.assign(calls.href);
      else return;
      event.preventDefault();
    } else if (event.key === "?") {
      one("#keys")?.showModal();
    } else if (event.key === "g") {
      afterG = Date.now();
    } else if (Date.now() - afterG < G_MS) {
      afterG = 0;
      const area = one(`[data-go="${CSS.escape(event.key)}"]`);
      if (area) location.assign(area.href);
    }
  });
})();

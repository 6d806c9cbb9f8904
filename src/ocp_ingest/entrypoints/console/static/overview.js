// The overview's live part: can be paused, waits while somebody reads or selects, keeps the focus
// and open details over a swap, and has a changed verdict spoken once.
"use strict";
(() => {
  const live = document.getElementById("live");
  const button = document.querySelector("[data-live-pause]");
  const said = document.getElementById("verdict-said");
  if (!live || !button || !said || !window.htmx) return;

  let paused = false;
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? button.dataset.goOn : button.dataset.pause;
    live.toggleAttribute("data-paused", paused);
    if (!paused) window.htmx.trigger(live, "refresh");
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !paused) window.htmx.trigger(live, "refresh");
  });

  const isSelecting = () => {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && live.contains(selection.anchorNode);
  };
  live.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt !== live) return;
    if (paused || document.hidden || isSelecting() || document.querySelector("dialog[open]")) event.preventDefault();
  });

  const FOCUSABLE = "a[href], button, summary, input, [tabindex]";
  let focused = -1, open = [];
  live.addEventListener("htmx:beforeSwap", () => {
    focused = [...live.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
    open = [...live.querySelectorAll("details[id][open]")].map((one) => one.id);
  });
  const verdict = () => document.querySelector(said.dataset.from)?.textContent ?? "";
  let last = verdict();
  live.addEventListener("htmx:afterSwap", () => {
    open.forEach((id) => { const one = document.getElementById(id); if (one) one.open = true; });
    if (focused >= 0) live.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
    if (verdict() !== last) { last = verdict(); said.textContent = last; }
  });
})();

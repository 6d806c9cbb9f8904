// The player of a recording: its place in the waveform, a click there, and the keys J, K and L.
// Everything can be done with the browser's own controls too.
"use strict";
(() => {
  const STEP_S = 10;
  const find = (name, ident) => [...document.querySelectorAll(`[data-${name}]`)]
    .find((found) => found.dataset[name] === ident);
  let active = null;

  function show(audio) {
    const wave = find("wave", audio.dataset.player);
    const head = wave?.querySelector("[data-head]");
    if (!head || !Number.isFinite(audio.duration) || !audio.duration) return;
    wave.classList.add("wave--live");
    const x = audio.currentTime / audio.duration * wave.querySelector("svg").viewBox.baseVal.width;
    head.setAttribute("x1", x);
    head.setAttribute("x2", x);
    head.setAttribute("visibility", "visible");
  }

  function take(audio) {
    if (audio.dataset.taken) return;
    audio.dataset.taken = "1";
    active = audio;
    for (const name of ["timeupdate", "seeked", "loadedmetadata"]) {
      audio.addEventListener(name, () => show(audio));
    }
    audio.addEventListener("play", () => {
      active = audio;
      for (const other of document.querySelectorAll("audio[data-player]")) {
        if (other !== audio) other.pause();
      }
    });
    const failed = () => { audio.parentElement.querySelector("[data-player-failed]").hidden = false; };
    audio.addEventListener("error", failed);
    audio.querySelector("source")?.addEventListener("error", failed);
    audio.focus({ preventScroll: true });
  }

  const takeAll = (root) => root.querySelectorAll("audio[data-player]").forEach(take);
  document.addEventListener("htmx:load", (event) => takeAll(event.detail.elt.parentElement ?? document));
  takeAll(document);

  document.addEventListener("click", (event) => {
    const svg = event.target.closest("[data-wave] svg");
    const audio = svg && find("player", svg.closest("[data-wave]").dataset.wave);
    if (!audio || !Number.isFinite(audio.duration)) return;
    const box = svg.getBoundingClientRect();
    audio.currentTime = (event.clientX - box.left) / box.width * audio.duration;
    audio.play().catch(() => {});
  });

  document.addEventListener("keydown", (event) => {
    const keys = document.querySelector("[data-keys-on]");
    if (!active?.isConnected || (keys && !keys.checked) || document.querySelector("dialog[open]")) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    const key = event.key.toLowerCase();
    if (key === "k") active.paused ? active.play().catch(() => {}) : active.pause();
    else if (key === "j") active.currentTime = Math.max(0, active.currentTime - STEP_S);
    else if (key === "l") active.currentTime = Math.min(active.duration || 0, active.currentTime + STEP_S);
    else return;
    event.preventDefault();
  });
})();

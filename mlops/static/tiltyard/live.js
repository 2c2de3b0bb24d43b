/* Follows work that is under way: asks its address every few seconds and puts the answer in place. Without it the page is read by loading it again. */
"use strict";
(() => {
  const EVERY_MS = 3000;
  const shown = {};

  /* A part somebody is in the middle of (a link or button of it has the focus) waits for the next turn. */
  function replace(id, html) {
    const node = document.getElementById(id);
    if (!node || shown[id] === html || (node.contains(document.activeElement) && document.activeElement !== node)) return;
    shown[id] = html;
    const sideways = [...node.querySelectorAll(".ty-scroll")].map((one) => one.scrollLeft);
    node.innerHTML = html;
    node.querySelectorAll(".ty-scroll").forEach((one, place) => { one.scrollLeft = sideways[place] || 0; });
    node.dispatchEvent(new CustomEvent("tiltyard:shown", { bubbles: true }));
  }

  function show(place, answer) {
    Object.entries(answer.parts || {}).forEach(([id, html]) => replace(id, html));
    if (answer.charts) {
      document.querySelectorAll(`[data-source="${answer.charts.source}"]`).forEach((node) => node.dispatchEvent(new CustomEvent("tiltyard:data", { detail: answer.charts.data })));
      place.dataset.seen = answer.seen;
    }
    const bar = place.querySelector("[data-progress]"), text = place.querySelector("[data-progress-text]");
    if (bar && answer.progress !== undefined) { bar.value = answer.progress; text.textContent = answer.text; }
    const main = document.querySelector("[data-subject]");
    if (main && answer.revision !== undefined) main.dataset.revision = String(answer.revision);
  }

  function follow(place) {
    const timer = setInterval(look, EVERY_MS);

    async function look() {
      if (document.hidden) return;
      const address = new URL(place.dataset.following, location.href);
      new URLSearchParams(location.search).forEach((value, name) => address.searchParams.set(name, value));
      if (place.dataset.seen) address.searchParams.set("seen", place.dataset.seen);
      let answer;
      try {
        const found = await fetch(address, { headers: { Accept: "application/json" } });
        if (!found.ok || !(found.headers.get("Content-Type") || "").includes("json")) return;
        answer = await found.json();
      } catch {
        return; // the server is away; the next look may find it
      }
      if (answer.reload) { clearInterval(timer); location.reload(); return; }
      show(place, answer);
      if (!answer.over) return;
      clearInterval(timer);
      const said = document.querySelector("[data-over]");
      if (said) said.textContent = answer.said || "";
    }
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-following]").forEach(follow));
})();

/* What every page of the site does in the browser: local times and numbers, confirmations, live parts. No page needs it to be read. */
"use strict";
(() => {
  const LIVE_MS = 5000;
  const locale = "en-US"; // as every word on the page: a browser's own language would mix two on it, and two decimal signs
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  const steps = [["year", 31536000], ["month", 2592000], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60]];

  function ago(moment) {
    const seconds = (moment - Date.now()) / 1000;
    const step = steps.find(([, size]) => Math.abs(seconds) >= size);
    return step ? relative.format(Math.round(seconds / step[1]), step[0]) : relative.format(0, "minute");
  }

  function showTime(node) {
    const text = node.getAttribute("datetime");
    if (node.dataset.style === "day") {
      node.textContent = new Date(`${text.slice(0, 10)}T12:00:00`).toLocaleDateString(locale, { day: "numeric", month: "short", year: "numeric" });
      return;
    }
    const moment = new Date(text);
    const full = moment.toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
    node.textContent = node.dataset.style === "full" ? full : ago(moment);
    if (!node.dataset.utc) node.dataset.utc = node.title;
    node.title = `${full} · ${node.dataset.utc}`;
  }

  function showNumber(node) {
    const digits = Number(node.dataset.digits);
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: node.dataset.signed ? "exceptZero" : "auto" };
    node.textContent = new Intl.NumberFormat(locale, options).format(Number(node.dataset.value)).replace("-", "−");
  }

  function localize(root) {
    root.querySelectorAll("time[datetime]").forEach(showTime);
    root.querySelectorAll(".ty-num").forEach(showNumber);
  }

  /* On a phone the stylesheet makes a block of each row of a table: every cell needs the name of its column, and the roles that display
     takes away. The long tables of numbers behind charts stay tables. */
  function stack(root) {
    root.querySelectorAll(".ty-scroll:not(.ty-numbers) > .ty-table").forEach((table) => {
      const head = [...table.tHead.rows[0].cells];
      const names = head.map((cell) => cell.textContent.trim().replace(/\s+/g, " "));
      table.setAttribute("role", "table");
      [table.tHead, ...table.tBodies].forEach((part) => part.setAttribute("role", "rowgroup"));
      [...table.rows].forEach((row) => {
        row.setAttribute("role", "row");
        [...row.cells].forEach((cell, place) => {
          cell.setAttribute("role", { col: "columnheader", row: "rowheader" }[cell.scope] || "cell");
          if (row.parentNode !== table.tHead && cell.colSpan === 1) cell.dataset.label = names[place];
        });
      });
      table.classList.add("ty-stacks");
    });
  }

  function confirmations(root) {
    root.querySelectorAll("input[data-confirm]").forEach((input) => {
      const button = input.form.querySelector("button:not([type=button])");
      const check = () => { button.disabled = input.value.trim() !== input.dataset.confirm; };
      input.addEventListener("input", check);
      check();
    });
    root.querySelectorAll("form[data-once]").forEach((form) => {
      form.addEventListener("submit", (event) => {
        if (form.dataset.sent) event.preventDefault();
        form.dataset.sent = "1";
      });
    });
    root.querySelectorAll("select[data-submit]").forEach((select) => select.addEventListener("change", () => select.form.submit()));
  }

  /* The theme writes its icons as words of an icon font; where a text stands beside one, nobody should hear the icon's name too. */
  function hideIcons() {
    document.querySelectorAll(".material-symbols-outlined:not([aria-hidden])").forEach((icon) => {
      if (icon.parentElement.textContent.trim() !== icon.textContent.trim()) icon.setAttribute("aria-hidden", "true");
    });
  }

  /* Every few seconds while somebody looks: the counts beside the navigation, and whether what this page shows is still true. */
  function live() {
    const place = document.querySelector("[data-live]"), main = document.querySelector("[data-subject]");
    if (!place) return;
    const address = new URL(place.dataset.live, location.href);
    if (main) address.searchParams.set("subject", main.dataset.subject);
    const known = {};
    document.querySelectorAll("[data-tally]").forEach((node) => { known[node.dataset.tally] = node.textContent; });

    function show({ tallies, revision }) {
      document.querySelectorAll("[data-tally]").forEach((node) => {
        const text = tallies[node.dataset.tally] || "";
        if (node.textContent !== text) node.textContent = text;
      });
      document.querySelectorAll("[data-watch]").forEach((node) => { node.hidden = (tallies[node.dataset.watch] || "") === known[node.dataset.watch]; });
      const stale = main && revision !== null && String(revision) !== main.dataset.revision;
      document.querySelectorAll("[data-stale]").forEach((node) => { node.hidden = !stale; });
    }

    async function look() {
      if (document.hidden) return;
      try {
        const answer = await fetch(address, { headers: { Accept: "application/json" } });
        if (answer.ok && (answer.headers.get("Content-Type") || "").includes("json")) show(await answer.json());
      } catch {
        return; // the server is away; the next look may find it
      }
    }
    setInterval(look, LIVE_MS);
    document.addEventListener("visibilitychange", look);
  }

  document.addEventListener("DOMContentLoaded", () => {
    hideIcons();
    live();
    localize(document);
    stack(document);
    confirmations(document);
    setInterval(() => document.querySelectorAll('time[data-style="relative"]').forEach(showTime), 60000);
  });
  window.addEventListener("pageshow", () => document.querySelectorAll("form[data-once]").forEach((form) => delete form.dataset.sent));
  document.addEventListener("htmx:afterSwap", (event) => {
    localize(event.target);
    stack(event.target);
  });
  document.addEventListener("tiltyard:shown", (event) => {
    localize(event.target);
    stack(event.target);
    confirmations(event.target);
  });
})();

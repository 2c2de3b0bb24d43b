/* The inbox by keyboard, and the chosen alert fetched beside the list. Without this file every row is a link that does the same. */
"use strict";
(() => {
  const SWITCH = "tiltyard.inbox.keys";
  const beside = document.getElementById("beside");
  const dialog = document.getElementById("ty-keys"), onOff = document.getElementById("ty-keys-on"), opener = document.getElementById("ty-keys-open");
  const rows = () => [...document.querySelectorAll("a[data-alert]")];
  const current = () => document.querySelector("a[data-alert][aria-current]");
  let wanted = 0;

  /* `open`: the person has opened it, so it is marked as read; passing by with j and k is not reading. */
  async function choose(row, { open = false } = {}) {
    const turn = ++wanted;
    rows().forEach((one) => one.removeAttribute("aria-current"));
    row.setAttribute("aria-current", "true");
    const token = document.querySelector("[name=csrfmiddlewaretoken]");
    const request = open && row.classList.contains("ty-unread") && token ? { method: "POST", headers: { "X-CSRFToken": token.value } } : {};
    let answer;
    try {
      answer = await fetch(row.dataset.beside, request);
    } catch {
      location.assign(row.href);
      return;
    }
    const text = await answer.text();
    if (turn !== wanted) return; // somebody has gone on to another alert meanwhile
    if (!answer.ok || answer.redirected) {
      location.assign(row.href);
      return;
    }
    beside.innerHTML = text;
    beside.dispatchEvent(new CustomEvent("tiltyard:shown", { bubbles: true }));
    const article = beside.querySelector("[data-shown]"), main = document.querySelector("[data-subject]");
    main.dataset.subject = `alert:${article.dataset.shown}`;
    main.dataset.revision = article.dataset.revision;
    history.replaceState(null, "", row.href.replace(/#.*/, ""));
    if (request.method) markRead(row);
    if (open) document.getElementById("alert-title").focus();
  }

  function markRead(row) {
    row.classList.remove("ty-unread");
    const word = row.querySelector(".ty-alert-sub strong");
    if (word) word.replaceWith("read");
  }

  function step(by) {
    const all = rows();
    const place = all.indexOf(document.activeElement.closest?.("a[data-alert]") || current());
    const next = all[Math.min(Math.max(place + by, 0), all.length - 1)];
    if (!next) return;
    next.focus();
    if (next !== current()) choose(next);
  }

  function answer(name) {
    const form = beside && beside.querySelector(`details[data-answer=${name}]`);
    if (!form) return;
    form.open = true;
    form.querySelector("textarea").focus();
  }

  function back() {
    beside.querySelectorAll("details[data-answer]").forEach((form) => { form.open = false; });
    (current() || rows()[0])?.focus();
  }

  const keys = { j: () => step(1), k: () => step(-1), a: () => answer("approve"), d: () => answer("dismiss"), "?": () => dialog.showModal() };

  function pressed(event) {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && typing && typing.form && beside.contains(typing)) {
      typing.form.querySelector("button[name=answer]").click();
      return;
    }
    if (dialog.open) return;
    if (event.key === "Escape" && beside && beside.contains(event.target)) {
      back();
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key] || (!onOff.checked && event.key !== "?")) return;
    event.preventDefault();
    keys[event.key]();
  }

  document.addEventListener("DOMContentLoaded", () => {
    opener.hidden = false;
    opener.addEventListener("click", () => dialog.showModal());
    onOff.checked = localStorage.getItem(SWITCH) !== "off";
    onOff.addEventListener("change", () => localStorage.setItem(SWITCH, onOff.checked ? "on" : "off"));
    document.addEventListener("keydown", pressed);
    document.addEventListener("click", (event) => {
      const row = event.target.closest("a[data-alert]");
      if (!row || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      choose(row, { open: true });
    });
  });
})();

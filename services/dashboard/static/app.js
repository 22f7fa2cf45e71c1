"use strict";
// The dashboard's own script: it only adds to pages that work without it. Loaded before htmx.
if (window.trustedTypes) trustedTypes.createPolicy("default", { createHTML: (html) => html });
document.documentElement.classList.add("js");
(() => {
  const all = (selector) => document.querySelectorAll(selector);
  const say = (text) => { const live = document.getElementById("live"); if (live) live.textContent = text; };
  const select = (node) => { const range = document.createRange(); range.selectNodeContents(node); const chosen = getSelection(); chosen.removeAllRanges(); chosen.addRange(range); };

  async function copy(button) {
    const source = button.dataset.copyFrom && document.getElementById(button.dataset.copyFrom);
    const label = button.querySelector(".lbl") || button;
    const word = (button.dataset.word ||= label.textContent);
    try {
      await navigator.clipboard.writeText(source ? source.textContent : button.dataset.copy);
      label.textContent = "Copied";
    } catch {
      // Never "Copied" when it is not true. A value that is on the page is selected instead.
      if (source) select(source);
      label.textContent = source ? "Press Ctrl+C" : "Not copied";
    }
    say(label.textContent);
    setTimeout(() => { label.textContent = word; }, 2500);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-copy],button[data-copy-from],button[data-show]");
    if (!button) return;
    if (!button.dataset.show) return copy(button);
    const field = document.getElementById(button.dataset.show);
    const isShown = field.type === "password";
    field.type = isShown ? "text" : "password";
    button.querySelector(".lbl").textContent = isShown ? "Hide" : "Show";
    button.setAttribute("aria-pressed", isShown);
  });

  // Menus close on Escape and when the focus leaves.
  const menus = "details.menu[open],details.more[open],details.who[open]";
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") all(menus).forEach((menu) => { menu.open = false; menu.querySelector("summary").focus(); });
    if (event.key === "/" && !event.target.closest("input,textarea,select")) {
      const search = document.querySelector("[data-search]");
      if (search) { event.preventDefault(); search.focus(); }
    }
  });
  document.addEventListener("focusin", (event) => all(menus).forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; }));
  document.addEventListener("pointerdown", (event) => all(menus).forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; }));

  // Relative times go on; absolute ones stay as the server wrote them.
  const ago = (seconds) => seconds < 60 ? "just now" : seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : `${Math.floor(seconds / 3600)} h ago`;
  setInterval(() => all("time[data-ago]").forEach((time) => {
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    if (seconds < 172800) time.textContent = ago(seconds);
  }), 60000);

  // Polls ask only while somebody looks, and stop while paused; elements say hx-trigger="tick from:body".
  let failures = 0, waits = 0;
  setInterval(() => {
    if (document.hidden || document.body.dataset.paused || waits-- > 0) return;
    waits = failures > 2 ? 60 : 0;
    document.body.dispatchEvent(new Event("tick"));
  }, 1000);
  document.addEventListener("htmx:sendError", () => { failures += 1; });
  document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) failures = waits = 0; });

  // A refused form: its summary takes the focus.
  const focus = () => { const summary = document.querySelector("[data-focus]"); if (summary) summary.focus(); };
  document.addEventListener("htmx:afterSwap", focus);
  addEventListener("DOMContentLoaded", focus);
})();

// What the script adds: progress that refreshes, fields that are shown only when they matter, and a button that is
// enabled by the typed confirmation. Every page works without it.
"use strict";

const EVERY_MS = 2000;

// Refresh a part of the page until it says that the request is done. Stop when the server refuses, for example because
// the session has ended.
function follow(part) {
  async function look() {
    if (document.hidden || part.contains(document.activeElement)) {
      setTimeout(look, EVERY_MS);
      return;
    }
    try {
      const answer = await fetch(part.dataset.poll, { headers: { Accept: "text/html" }, redirect: "manual" });
      if (!answer.ok) return;
      const text = await answer.text();
      if (text !== part.dataset.shown) {
        part.dataset.shown = text;
        part.innerHTML = text;
        say(part);
      }
    } catch {
      // The network is away; look again later.
    }
    const state = part.querySelector("[data-state]");
    if (!state || !["completed", "cancelled"].includes(state.dataset.state)) setTimeout(look, EVERY_MS);
  }
  if (!("done" in part.dataset)) setTimeout(look, EVERY_MS);
}

// Tell a screen reader the new state of the request.
function say(part) {
  const where = part.querySelector(".where");
  const voice = document.querySelector("[data-says]");
  if (where && voice && voice.textContent !== where.textContent) voice.textContent = where.textContent;
}

// Show only the fields that belong to what was chosen.
function choose(form) {
  function show() {
    const chosen = form.querySelector("[data-shows]:checked");
    for (const part of form.querySelectorAll("[data-part]")) {
      part.hidden = !chosen || part.dataset.part !== chosen.dataset.shows;
    }
  }
  form.addEventListener("change", show);
  window.addEventListener("pageshow", show);
  show();
}

// Enable the button when the typed text matches.
function confirm_(form) {
  const typed = form.querySelector("[data-expects]");
  const button = form.querySelector("button");
  if (!typed) return;
  const compare = () => {
    button.disabled = typed.value.trim() !== typed.dataset.expects;
  };
  typed.addEventListener("input", compare);
  window.addEventListener("pageshow", compare);
  compare();
}

// Send a form once.
function once(form) {
  form.addEventListener("submit", () => setTimeout(() => form.querySelectorAll("button").forEach((each) => (each.disabled = true))));
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) form.querySelectorAll("button").forEach((each) => (each.disabled = false));
  });
}

document.querySelectorAll("[data-poll]").forEach(follow);
document.querySelectorAll("[data-choice]").forEach(choose);
document.querySelectorAll("form[method=post]").forEach(once);
document.querySelectorAll("[data-confirm]").forEach(confirm_);

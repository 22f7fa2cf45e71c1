// Everything works without this: it shows the button that only a script can offer, and moves the focus to what is wrong.
const button = document.getElementById("print-page");
if (button) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}
document.getElementById("note")?.focus();

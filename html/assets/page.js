// What every page does: the switch of theme, and a switch of language that keeps the reader's place.

const zh = document.documentElement.lang.startsWith("zh");
const names = zh ? { "": "自动", light: "浅色", dark: "深色" } : { "": "Auto", light: "Light", dark: "Dark" };

const label = document.createElement("label");
label.className = "theme";
const select = document.createElement("select");
select.setAttribute("aria-label", zh ? "颜色主题" : "Colour theme");
for (const [value, name] of Object.entries(names)) select.append(new Option(name, value));
select.value = document.documentElement.dataset.theme ?? "";
select.addEventListener("change", () => {
  document.documentElement.dataset.theme = select.value;
  try {
    localStorage.setItem("theme", select.value);
  } catch {
    // A browser that keeps nothing: the choice holds for this page.
  }
  dispatchEvent(new Event("themechange"));
});
label.append(select);
document.querySelector(".top").append(label);

// Without scripts the link leads to the same page's beginning; with them, to the same section.
const language = document.querySelector("a.switch");
const place = () => {
  const near = [...document.querySelectorAll("main [id]")].filter((e) => e.getBoundingClientRect().top < innerHeight / 3);
  return near.length && scrollY > 100 ? `#${near.at(-1).id}` : location.hash;
};
for (const event of ["pointerdown", "focus", "click"]) {
  language.addEventListener(event, () => {
    language.hash = place();
  });
}

// Paper cannot unfold: open what is folded while printing (browsers without ::details-content).
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) {
    details.open = true;
    details.dataset.printed = "";
  }
});
addEventListener("afterprint", () => {
  for (const details of document.querySelectorAll("details[data-printed]")) {
    details.open = false;
    delete details.dataset.printed;
  }
});

// What a screen reader or a keyboard needs on every page, and the theme does not give.
(() => {
  "use strict";
  document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "All pages");
  document.querySelector(".toc-drawer")?.setAttribute("aria-label", "On this page");
  // A signature's parameters on lines of their own are no list of definitions
  for (const list of document.querySelectorAll("dt.sig dl")) list.setAttribute("role", "none");
  // The gallery's links lie over its pictures, and their text is hidden
  for (const link of document.querySelectorAll(".sphx-glr-thumbcontainer a")) link.setAttribute("aria-label", link.textContent);
  // The page of search results has no title
  if (!document.querySelector("h1")) {
    const title = document.createElement("h1");
    title.textContent = document.title.split(" - ")[0];
    document.querySelector("article")?.prepend(title);
  }

  /** Code that is wider than the page can be scrolled with the arrow keys. */
  function reachWide() {
    for (const block of document.querySelectorAll("article pre")) {
      if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;
      else block.removeAttribute("tabindex");
    }
  }

  reachWide();
  addEventListener("resize", reachWide);
})();

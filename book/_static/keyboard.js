// What the theme leaves out for those who go through a page with the keyboard.

{
  // The theme lets go of these buttons when they are pressed, so that their hints go away; with a key, too,
  // and then the next Tab would begin at the top of the page, and a dialog could not give the focus back.
  for (const button of document.querySelectorAll(".theme-switch-button, .search-button, .primary-toggle, .secondary-toggle"))
    button.blur = () => { if (!button.matches(":focus-visible")) HTMLElement.prototype.blur.call(button); };
}

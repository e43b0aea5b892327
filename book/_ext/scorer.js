/* What the search counts, as Sphinx would; a result in the glossary says which word it is. */
var Scorer = {
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
  score: (result) => {
    const word = /^#term-(.+)/.exec(result[2]);
    if (word) result[1] = `Glossary: ${word[1].replaceAll("-", " ")}`;
    return result[4];
  },
};

"""Reading neurons: reports over a corpus, short rules and their judge, blinded cards, planted units."""

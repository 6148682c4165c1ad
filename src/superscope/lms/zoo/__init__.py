"""The bundled models: which there are and by what recipe (`minis`), and how one is trained (`training`)."""

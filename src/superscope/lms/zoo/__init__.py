"""The bundled models: how each was made (`training`), and which there are (`minis`)."""

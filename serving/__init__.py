"""The server that writes articles: HTTP API and web page over one model bundle, without TensorFlow and TFX."""

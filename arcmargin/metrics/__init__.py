"""How embeddings do on classes that training never saw: verification, retrieval, identification."""

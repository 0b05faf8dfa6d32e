"""The real parts that the end-to-end tests are made of."""

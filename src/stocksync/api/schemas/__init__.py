"""The shapes of the API for its OpenAPI document, one module a family. The bytes come from domain.wire."""

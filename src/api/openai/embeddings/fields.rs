//! What becomes of each field of a request for vectors.

use crate::api::fields::{Field, Table, honoured, ignored};

/// `POST /v1/embeddings`.
pub(in crate::api) const EMBEDDINGS: &[Table] =
    &[Table { title: "`POST /v1/embeddings`", fields: FIELDS }];

const FIELDS: &[Field] = &[
    honoured("model", "required; an embedding model"),
    honoured("input", "required: a text, texts, token ids of this model, or lists of them"),
    honoured("encoding_format", "`float`, the default, or `base64`"),
    honoured("dimensions", "only so many of the first values, made of length 1 again"),
    ignored("user", "names an account on OpenAI's side"),
];

#[cfg(test)]
mod tests {
    use super::super::types::EmbeddingsRequest;
    use super::*;
    use crate::api::fields::assert_complete;

    #[test]
    fn every_field_has_a_row() {
        for table in EMBEDDINGS {
            assert_complete::<EmbeddingsRequest>(table);
        }
    }
}

//! What becomes of each field of a request, as tables beside the wire types: the documentation is
//! made of them, and tests hold them to the types.

use std::fmt::Write as _;

use super::endpoints::endpoints;
use super::{anthropic, ollama, openai, responses};

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It does what its dialect says.
    Honoured,
    /// Its use is an error that names it.
    Refused,
    /// It is taken and changes nothing.
    Ignored,
}

/// A field and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// As clients spell it.
    pub(super) name: &'static str,
    /// What becomes of it.
    pub(super) treatment: Treatment,
    /// How, in Markdown: ranges, defaults, reasons. May be empty where the name says it all.
    pub(super) note: &'static str,
}

/// A field that does what its dialect says.
pub(super) const fn honoured(name: &'static str, note: &'static str) -> Field {
    Field { name, treatment: Treatment::Honoured, note }
}

/// A field whose use is an error.
pub(super) const fn refused(name: &'static str, note: &'static str) -> Field {
    Field { name, treatment: Treatment::Refused, note }
}

/// A field that changes nothing.
pub(super) const fn ignored(name: &'static str, note: &'static str) -> Field {
    Field { name, treatment: Treatment::Ignored, note }
}

/// All fields of one wire type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    /// The heading: a route, or what part of a request it is.
    pub(super) title: &'static str,
    /// In the order of the type.
    pub(super) fields: &'static [Field],
}

/// Every table, in the order of the page.
const TABLES: &[&[Table]] = &[
    openai::CHAT,
    openai::TEXT,
    openai::EMBEDDINGS,
    responses::CREATE,
    anthropic::MESSAGES,
    ollama::OLLAMA,
];

/// The page about request fields, in Markdown: `contrib/COMPATIBILITY.md` is this text.
pub fn compatibility() -> String {
    let mut page = String::from(
        "# Compatibility\n\n\
         What becomes of each endpoint of the programs that modeld stands in for, and of each field\n\
         of a request. This page is made from the tables in the sources, and tests hold those to\n\
         the routes and to the types that read the requests.\n",
    );
    page.push_str(&endpoints());
    page.push_str(
        "\n# Request fields\n\n\
         * **honoured**: does what its API says, within the range given here; outside of it the\n  \
         answer is 400 and names the field.\n\
         * **refused**: the answer is 400 and names the field.\n\
         * **ignored**: taken, and changes nothing.\n\n\
         Fields that are not listed are ignored. `null` is the same as leaving a field out.\n",
    );
    for table in TABLES.iter().copied().flatten() {
        // Writing to a string cannot fail.
        let _ = write!(page, "\n## {}\n\n| Field | | How |\n|---|---|---|\n", table.title);
        for Field { name, treatment, note } in table.fields {
            let word = match treatment {
                Treatment::Honoured => "honoured",
                Treatment::Refused => "refused",
                Treatment::Ignored => "ignored",
            };
            let note = note.replace('|', "\\|");
            let _ = writeln!(page, "| `{name}` | {word} | {note} |");
        }
    }
    page
}

/// Fails unless the table has a row for every field that `T` reads, and no other, in the same order.
#[cfg(test)]
#[track_caller]
pub(super) fn assert_complete<T: serde::de::DeserializeOwned>(table: &Table) {
    let rows: Vec<&str> = table.fields.iter().map(|field| field.name).collect();
    assert_eq!(rows, capture::fields_of::<T>(), "{}", table.title);
    for Field { name, treatment, note } in table.fields {
        let explained = !note.is_empty() || *treatment == Treatment::Honoured;
        assert!(explained, "{}: `{name}` is {treatment:?} without a word why", table.title);
    }
}

/// Asks a type for the fields that it reads, by offering to deserialise it.
#[cfg(test)]
mod capture {
    use std::fmt;

    use serde::de::{self, DeserializeOwned, Deserializer, Visitor};

    /// The fields of a struct, in order.
    pub(super) fn fields_of<T: DeserializeOwned>() -> Vec<&'static str> {
        match T::deserialize(Capture) {
            Err(Captured(Some(fields))) => fields.to_vec(),
            Err(Captured(None)) | Ok(_) => panic!("not a struct"),
        }
    }

    struct Capture;

    #[derive(Debug)]
    struct Captured(Option<&'static [&'static str]>);

    impl fmt::Display for Captured {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("captured")
        }
    }

    impl std::error::Error for Captured {}

    impl de::Error for Captured {
        fn custom<T: fmt::Display>(_: T) -> Self {
            Self(None)
        }
    }

    impl<'de> Deserializer<'de> for Capture {
        type Error = Captured;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Captured> {
            Err(Captured(None))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Captured> {
            Err(Captured(Some(fields)))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its fields' names matter")]
    struct Body {
        model: String,
        #[serde(rename = "type")]
        kind: String,
    }

    #[test]
    fn the_fields_of_a_type_are_seen_as_clients_spell_them() {
        assert_eq!(capture::fields_of::<Body>(), ["model", "type"]);
    }

    #[test]
    #[should_panic(expected = "left == right")]
    fn a_field_without_a_row_is_noticed() {
        const ROWS: &[Field] = &[honoured("model", "")];
        assert_complete::<Body>(&Table { title: "a body", fields: ROWS });
    }

    /// `UPDATE_COMPATIBILITY=1 cargo test --release --lib fields::` writes the page anew.
    #[test]
    fn the_page_is_the_one_that_the_tables_make() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/COMPATIBILITY.md");
        let made = compatibility();
        if std::env::var_os("UPDATE_COMPATIBILITY").is_some() {
            std::fs::write(path, &made).expect("a file that can be written");
        }
        let page = std::fs::read_to_string(path).expect("the page");
        assert!(page == made, "{path} is out of date: see the comment at this test");
    }

    #[test]
    fn the_page_has_a_row_for_each_field() {
        let page = compatibility();
        let rows = page.lines().filter(|line| line.starts_with("| `")).count();
        let fields: usize = TABLES.iter().copied().flatten().map(|t| t.fields.len()).sum();
        assert_eq!(rows, fields);
    }
}

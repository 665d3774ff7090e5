/// What becomes of a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The walk knows what to do with it.
    Enforced,
    /// It constrains nothing.
    Ignored,
    /// It constrains in a way that cannot be guaranteed; what to do instead.
    Refused(&'static str),
    /// No keyword that we know.
    Unknown,
}

/// Keywords that the walk enforces, resolves or refuses after a look at their value.
const ENFORCED: &[&str] = &[
    "$id",
    "$ref",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "required",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
];

/// Annotations of JSON Schema, of OpenAPI and of the generators that SDKs use. `nullable: true`
/// would allow null besides; an answer without it obeys the schema as well.
const IGNORED: &[&str] = &[
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$recursiveAnchor",
    "$schema",
    "$vocabulary",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "discriminator",
    "enumDescriptions",
    "enumNames",
    "errorMessage",
    "example",
    "examples",
    "externalDocs",
    "id",
    "markdownDescription",
    "nullable",
    "propertyOrdering",
    "readOnly",
    "strict",
    "title",
    "tsType",
    "writeOnly",
    "xml",
];

/// What becomes of `keyword`.
pub(super) fn fate(keyword: &str) -> Fate {
    if ENFORCED.contains(&keyword) {
        return Fate::Enforced;
    }
    if IGNORED.contains(&keyword) || keyword.starts_with("x-") {
        return Fate::Ignored;
    }
    match keyword {
        "$dynamicRef" | "$recursiveRef" => Fate::Refused("use $ref"),
        "if" | "then" | "else" => Fate::Refused("write the cases as anyOf"),
        "contains" | "minContains" | "maxContains" => {
            Fate::Refused("describe the items by items or prefixItems")
        }
        "dependencies" | "dependentRequired" | "dependentSchemas" => {
            Fate::Refused("write the combinations as anyOf")
        }
        _ => Fate::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_keyword_has_two_fates() {
        let both: Vec<_> = ENFORCED.iter().filter(|keyword| IGNORED.contains(keyword)).collect();
        assert!(both.is_empty(), "{both:?}");
    }
}

//! How dialects describe their routes: tables of what is sent and answered, which the OpenAPI
//! document is made of. Nothing is built until somebody asks for the document.

use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Schemas by name, as they are collected.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// Makes a schema; what it refers to is added to the named ones.
pub(super) type Shape = fn(&mut Schemas) -> RefOr<Schema>;

/// A content type, exactly as it is sent, and what the body is. Two of the same type are
/// alternatives.
pub(super) type Content = (&'static str, Shape);

/// The routes of one dialect.
#[derive(Debug)]
pub(super) struct Dialect {
    /// How the document calls it.
    pub(super) tag: &'static str,
    /// What it is.
    pub(super) description: &'static str,
    /// What its errors look like.
    pub(super) errors: &'static [Content],
    /// What it does.
    pub(super) operations: &'static [Operation],
}

/// What can be done at a path.
#[derive(Debug)]
pub(super) struct Operation {
    /// `GET` includes `HEAD`.
    pub(super) method: &'static str,
    /// All paths that do the same, as [`super::ROUTES`] spells them.
    pub(super) paths: &'static [&'static str],
    /// In the query and in the headers; those of the path are read from it.
    pub(super) parameters: &'static [Parameter],
    /// The body that has to be sent, if any.
    pub(super) request: Option<Content>,
    /// What is answered to a good request.
    pub(super) answers: &'static [(u16, &'static [Content])],
}

/// A parameter that may be left out, unless it says otherwise.
#[derive(Debug)]
pub(super) struct Parameter {
    /// As clients spell it.
    pub(super) name: &'static str,
    /// Whether it is a header; else it is in the query.
    pub(super) header: bool,
    /// Whether it has to be there.
    pub(super) required: bool,
    /// What it is.
    pub(super) shape: Shape,
    /// What it does.
    pub(super) what: &'static str,
}

/// A parameter in the query that may be left out.
pub(super) const fn query(name: &'static str, shape: Shape, what: &'static str) -> Parameter {
    Parameter { name, header: false, required: false, shape, what }
}

/// A header that may be left out.
pub(super) const fn header(name: &'static str, shape: Shape, what: &'static str) -> Parameter {
    Parameter { name, header: true, required: false, shape, what }
}

/// Until when an answer is of use.
pub(super) const DEADLINE: Parameter = header(
    "x-request-timeout",
    seconds,
    "seconds after which the answer is of no use; then it is 408",
);

/// A type of its own name.
pub(super) fn named<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    T::schemas(schemas);
    schemas.push((T::name().into_owned(), T::schema()));
    Ref::from_schema_name(T::name()).into()
}

/// An array of a type of its own name.
pub(super) fn list_of<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    array(named::<T>(schemas))
}

/// Text.
pub(super) fn text(_: &mut Schemas) -> RefOr<Schema> {
    String::schema()
}

/// An integer.
pub(super) fn integer(_: &mut Schemas) -> RefOr<Schema> {
    of(Type::Integer).into()
}

/// True or false.
pub(super) fn flag(_: &mut Schemas) -> RefOr<Schema> {
    of(Type::Boolean).into()
}

/// What its content type describes enough: bytes, and streams of events.
pub(super) fn opaque(_: &mut Schemas) -> RefOr<Schema> {
    utoipa::openapi::schema::empty().into()
}

fn seconds(_: &mut Schemas) -> RefOr<Schema> {
    of(Type::Number).exclusive_minimum(Some(0)).maximum(Some(86_400)).into()
}

/// A type of JSON.
pub(super) fn of(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

/// An array.
pub(super) fn array(items: impl Into<RefOr<Schema>>) -> RefOr<Schema> {
    ArrayBuilder::new().items(items.into()).into()
}

/// An object whose members are all there; more may come.
pub(super) fn object<const N: usize>(members: [(&str, RefOr<Schema>); N]) -> ObjectBuilder {
    members.into_iter().fold(of(Type::Object), |object, (name, schema)| {
        object.property(name, schema).required(name)
    })
}

/// One of these words.
pub(super) fn word<const N: usize>(words: [&str; N]) -> RefOr<Schema> {
    of(Type::String).enum_values(Some(words)).into()
}

/// A string, or something else that is none.
pub(super) fn text_or(other: RefOr<Schema>) -> RefOr<Schema> {
    OneOfBuilder::new().item(String::schema()).item(other).into()
}

/// What the schema says, or null.
pub(super) fn or_null(schema: impl Into<RefOr<Schema>>) -> RefOr<Schema> {
    OneOfBuilder::new().item(schema.into()).item(of(Type::Null)).into()
}

/// Names a type that stands in the place of a text which has to be one of some words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($word:literal),+ $(,)?) => {
        $(#[$doc])*
        pub(super) enum $name {}

        impl ::utoipa::PartialSchema for $name {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::Schema> {
                $crate::api::describe::word([$($word),+])
            }
        }

        impl ::utoipa::ToSchema for $name {}
    };
}

pub(super) use words;

//! Reads the `#[kafka(…)]` attributes into types that can't be wrong.

use proc_macro2::Span;
use syn::{Attribute, Expr, LitInt, LitStr, Type};

/// An inclusive range of versions; without an end, all from the start on.
#[derive(Clone, Copy)]
pub struct Versions {
    pub first: i16,
    pub last: Option<i16>,
}

impl Versions {
    pub const ALL: Self = Self { first: 0, last: None };

    fn parse(text: &LitStr) -> syn::Result<Self> {
        let wrong = || syn::Error::new(text.span(), "expected versions as in \"3\", \"3+\" or \"3-12\"");
        let number = |digits: &str| digits.parse::<i16>().map_err(|_| wrong());
        let value = text.value();
        if let Some(first) = value.strip_suffix('+') {
            return Ok(Self { first: number(first)?, last: None });
        }
        let (first, last) = value.split_once('-').unwrap_or((&value, &value));
        let range = Self { first: number(first)?, last: Some(number(last)?) };
        if range.last < Some(range.first) { Err(wrong()) } else { Ok(range) }
    }
}

/// What a struct says of itself.
#[derive(Default)]
pub struct StructAttributes {
    /// Present on requests and responses.
    pub versions: Option<Versions>,
    /// The first flexible version.
    pub flexible_from: Option<i16>,
}

impl StructAttributes {
    pub fn read(attributes: &[Attribute]) -> syn::Result<Self> {
        let mut read = Self::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("kafka")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("versions") {
                    read.versions = Some(Versions::parse(&meta.value()?.parse()?)?);
                } else if meta.path.is_ident("flexible") {
                    let text: LitStr = meta.value()?.parse()?;
                    if text.value() != "none" {
                        read.flexible_from = Some(Versions::parse(&text)?.first);
                    }
                } else {
                    return Err(meta.error("a struct knows `versions` and `flexible`"));
                }
                Ok(())
            })?;
        }
        Ok(read)
    }
}

/// What a field says of itself.
pub struct FieldAttributes {
    pub versions: Versions,
    /// The versions in which null is allowed.
    pub nullable: Option<Versions>,
    pub tag: Option<u32>,
    pub default: Option<Expr>,
}

impl FieldAttributes {
    pub fn read(attributes: &[Attribute], ty: &Type, span: Span) -> syn::Result<Self> {
        let mut read = Self { versions: Versions::ALL, nullable: None, tag: None, default: None };
        for attribute in attributes.iter().filter(|a| a.path().is_ident("kafka")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("versions") {
                    read.versions = Versions::parse(&meta.value()?.parse()?)?;
                } else if meta.path.is_ident("nullable") {
                    read.nullable = Some(match meta.value() {
                        Ok(value) => Versions::parse(&value.parse()?)?,
                        Err(_) => Versions::ALL,
                    });
                } else if meta.path.is_ident("tag") {
                    read.tag = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?);
                } else if meta.path.is_ident("default") {
                    read.default = Some(meta.value()?.parse()?);
                } else {
                    return Err(meta.error("a field knows `versions`, `nullable`, `tag` and `default`"));
                }
                Ok(())
            })?;
        }
        let is_null_possible = is_named(ty, "Option") || is_named(ty, "Records");
        if is_null_possible != read.nullable.is_some() {
            return Err(syn::Error::new(span, "an `Option` or `Records`, and nothing else, says `nullable`"));
        }
        Ok(read)
    }
}

fn is_named(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == name))
}

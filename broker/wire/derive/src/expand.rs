//! Writes the implementations of one struct.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Fields, GenericParam, Ident, Type};

use crate::attributes::{FieldAttributes, StructAttributes, Versions};

/// A field with what its attributes say.
struct Field<'a> {
    name: &'a Ident,
    ty: &'a Type,
    attributes: FieldAttributes,
}

impl Field<'_> {
    /// Whether the field is part of the version at hand.
    fn is_present(&self) -> TokenStream {
        contains(self.attributes.versions)
    }

    /// The context that the field's value is read and written in.
    fn context(&self) -> TokenStream {
        let tagged = self.attributes.tag.map(|_| quote!(.tagged()));
        match self.attributes.nullable {
            None => quote!(context.not_null()#tagged),
            Some(versions) => {
                let nullable = contains(versions);
                quote!(context.nullable(#nullable)#tagged)
            }
        }
    }

    fn default(&self) -> TokenStream {
        match &self.attributes.default {
            Some(value) => quote_spanned!(value.span()=> #value),
            None => quote!(::core::default::Default::default()),
        }
    }
}

/// The condition that the version at hand is in `versions`.
fn contains(versions: Versions) -> TokenStream {
    match (versions.first, versions.last) {
        (0, None) => quote!(true),
        (first, None) => quote!(context.version >= #first),
        (first, Some(last)) => quote!((#first..=#last).contains(&context.version)),
    }
}

pub fn message(input: &DeriveInput) -> syn::Result<TokenStream> {
    let attributes = StructAttributes::read(&input.attrs)?;
    let Data::Struct(data) = &input.data else {
        return Err(syn::Error::new(input.span(), "only a struct can be a message"));
    };
    let fields = match &data.fields {
        Fields::Named(named) => named.named.iter().collect::<Vec<_>>(),
        Fields::Unit => Vec::new(),
        Fields::Unnamed(_) => return Err(syn::Error::new(input.span(), "a message's fields have names")),
    };
    let mut read = Vec::with_capacity(fields.len());
    for field in fields {
        let name = field.ident.as_ref().ok_or_else(|| syn::Error::new(field.span(), "a field has a name"))?;
        let attributes = FieldAttributes::read(&field.attrs, &field.ty, field.span())?;
        read.push(Field { name, ty: &field.ty, attributes });
    }
    let name = &input.ident;
    let generics = match input.generics.params.iter().collect::<Vec<_>>().as_slice() {
        [] => quote!(),
        [GenericParam::Lifetime(_)] => quote!(<'a>),
        _ => return Err(syn::Error::new(input.generics.span(), "a message has at most one lifetime")),
    };
    let of = quote!(#name #generics);
    let parts = [
        default(&of, &generics, &read),
        field(name, &of, &read),
        nullable_field(&of),
        generate(&of, &read),
        versions(&of, &attributes),
    ];
    Ok(quote!(#(#parts)*))
}

fn default(of: &TokenStream, generics: &TokenStream, fields: &[Field<'_>]) -> TokenStream {
    let names = fields.iter().map(|f| f.name);
    let values = fields.iter().map(Field::default);
    quote! {
        impl #generics ::core::default::Default for #of {
            fn default() -> Self {
                Self { #(#names: #values,)* }
            }
        }
    }
}

fn field(name: &Ident, of: &TokenStream, fields: &[Field<'_>]) -> TokenStream {
    let sizes = fields.iter().filter(|f| f.attributes.tag.is_none()).map(|f| {
        let (present, context, ty) = (f.is_present(), f.context(), f.ty);
        quote!(if #present { size += <#ty as crate::codec::Field<'a>>::size_min(#context); })
    });
    let (decode, skip, encode) = (decode(name, fields), skip(name, fields), encode(fields));
    quote! {
        impl<'a> crate::codec::Field<'a> for #of {
            fn size_min(context: crate::codec::Context) -> usize {
                let mut size = usize::from(context.flexible);
                #(#sizes)*
                size
            }

            fn decode(
                decoder: &mut crate::codec::Decoder<'a>,
                context: crate::codec::Context,
            ) -> ::core::result::Result<Self, crate::codec::DecodeError> {
                #decode
            }

            fn skip(
                decoder: &mut crate::codec::Decoder<'a>,
                context: crate::codec::Context,
            ) -> ::core::result::Result<(), crate::codec::DecodeError> {
                #skip
            }

            fn encode(&self, encoder: &mut crate::codec::Encoder, context: crate::codec::Context) {
                #encode
            }
        }
    }
}

fn decode(name: &Ident, fields: &[Field<'_>]) -> TokenStream {
    let names = fields.iter().map(|f| f.name);
    let reads = fields.iter().map(|f| {
        let (field, ty, default) = (f.name, f.ty, f.default());
        if f.attributes.tag.is_some() {
            return quote!(let mut #field: #ty = #default;);
        }
        let (present, context, label) = (f.is_present(), f.context(), label(name, f));
        quote! {
            let #field: #ty = if #present {
                decoder.at(#label);
                crate::codec::Field::decode(decoder, #context)?
            } else {
                #default
            };
        }
    });
    let arms = fields.iter().filter_map(|f| {
        let (tag, field, present, context) = (f.attributes.tag?, f.name, f.is_present(), f.context());
        let label = label(name, f);
        Some(quote! {
            #tag if #present => {
                decoder.at(#label);
                #field = crate::codec::Field::decode(decoder, #context)?;
                Ok(true)
            }
        })
    });
    quote! {
        #(#reads)*
        if context.flexible {
            decoder.tagged_fields(|decoder, tag| match tag {
                #(#arms)*
                _ => Ok(false),
            })?;
        }
        Ok(Self { #(#names,)* })
    }
}

/// The same as [`decode`] without the values.
fn skip(name: &Ident, fields: &[Field<'_>]) -> TokenStream {
    let value = |f: &Field<'_>| {
        let (context, ty, label) = (f.context(), f.ty, label(name, f));
        quote! {
            decoder.at(#label);
            <#ty as crate::codec::Field<'a>>::skip(decoder, #context)?;
        }
    };
    let passed = fields.iter().filter(|f| f.attributes.tag.is_none()).map(|f| {
        let (present, value) = (f.is_present(), value(f));
        quote!(if #present { #value })
    });
    let arms = fields.iter().filter_map(|f| {
        let (tag, present, value) = (f.attributes.tag?, f.is_present(), value(f));
        Some(quote!(#tag if #present => { #value Ok(true) }))
    });
    quote! {
        #(#passed)*
        if context.flexible {
            decoder.tagged_fields(|decoder, tag| match tag {
                #(#arms)*
                _ => Ok(false),
            })?;
        }
        Ok(())
    }
}

/// `Message.field`, which an error names.
fn label(name: &Ident, field: &Field<'_>) -> String {
    format!("{name}.{}", field.name)
}

fn encode(fields: &[Field<'_>]) -> TokenStream {
    let writes = fields.iter().filter(|f| f.attributes.tag.is_none()).map(|f| {
        let (field, present, context) = (f.name, f.is_present(), f.context());
        quote!(if #present { crate::codec::Field::encode(&self.#field, encoder, #context); })
    });
    let mut tagged: Vec<_> = fields.iter().filter(|f| f.attributes.tag.is_some()).collect();
    tagged.sort_by_key(|f| f.attributes.tag);
    let is_written = |f: &Field<'_>| {
        let (field, present, ty, default) = (f.name, f.is_present(), f.ty, f.default());
        quote!(#present && self.#field != { let default: #ty = #default; default })
    };
    let counts = tagged.iter().map(|f| is_written(f));
    let tags = tagged.iter().map(|f| {
        let (tag, field, context, written) = (f.attributes.tag, f.name, f.context(), is_written(f));
        quote! {
            if #written {
                encoder.tagged_field(#tag, |encoder| {
                    crate::codec::Field::encode(&self.#field, encoder, #context);
                });
            }
        }
    });
    quote! {
        #(#writes)*
        if context.flexible {
            let count = 0 #(+ u32::from(#counts))*;
            encoder.unsigned_varint(count);
            #(#tags)*
        }
    }
}

/// A struct that may be null has a number before it that says whether it is.
fn nullable_field(of: &TokenStream) -> TokenStream {
    quote! {
        impl<'a> crate::codec::NullableField<'a> for #of {
            fn size_min_nullable(_: crate::codec::Context) -> usize {
                1
            }

            fn decode_nullable(
                decoder: &mut crate::codec::Decoder<'a>,
                context: crate::codec::Context,
            ) -> ::core::result::Result<Option<Self>, crate::codec::DecodeError> {
                if decoder.is_null_struct(context.tagged)? {
                    return Ok(None);
                }
                crate::codec::Field::decode(decoder, context).map(Some)
            }

            fn skip_nullable(
                decoder: &mut crate::codec::Decoder<'a>,
                context: crate::codec::Context,
            ) -> ::core::result::Result<bool, crate::codec::DecodeError> {
                if decoder.is_null_struct(context.tagged)? {
                    return Ok(false);
                }
                <Self as crate::codec::Field<'a>>::skip(decoder, context).map(|()| true)
            }

            fn encode_nullable(
                value: Option<&Self>,
                encoder: &mut crate::codec::Encoder,
                context: crate::codec::Context,
            ) {
                encoder.null_struct(value.is_none(), context.tagged);
                if let Some(value) = value {
                    crate::codec::Field::encode(value, encoder, context);
                }
            }
        }
    }
}

fn generate(of: &TokenStream, fields: &[Field<'_>]) -> TokenStream {
    let names = fields.iter().map(|f| f.name);
    let values = fields.iter().map(|f| {
        let (present, context, default) = (f.is_present(), f.context(), f.default());
        // A tagged field exists in flexible versions only.
        let flexible = f.attributes.tag.map(|_| quote!(&&context.flexible));
        quote! {
            if #present #flexible {
                crate::codec::Generate::generate(generator, #context)
            } else {
                #default
            }
        }
    });
    quote! {
        #[cfg(feature = "generate")]
        impl<'a> crate::codec::Generate<'a> for #of {
            fn generate(
                generator: &mut crate::codec::Generator,
                context: crate::codec::Context,
            ) -> Self {
                Self { #(#names: #values,)* }
            }
        }
    }
}

fn versions(of: &TokenStream, attributes: &StructAttributes) -> TokenStream {
    let Some(versions) = attributes.versions else { return quote!() };
    let (first, last) = (versions.first, versions.last.unwrap_or(i16::MAX));
    let flexible_from = attributes.flexible_from.unwrap_or(i16::MAX);
    quote! {
        impl<'a> crate::codec::Message<'a> for #of {
            const VERSION_FIRST: i16 = #first;
            const VERSION_LAST: i16 = #last;
            const FLEXIBLE_FROM: i16 = #flexible_from;
        }
    }
}

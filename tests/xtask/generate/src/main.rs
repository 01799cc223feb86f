//! Writes the files that are made from code, or says which of them have drifted from it. It is called by
//! `cargo xtask crds` and `cargo xtask docs`, and stands apart from xtask as it needs half of the product.

mod pages;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

/// Writes the generated files.
#[derive(Parser)]
struct Options {
    /// Which of them
    #[arg(value_enum)]
    what: What,
    /// Write nothing; fail if a file isn't as it would be written
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// The CustomResourceDefinitions in crds/
    Crds,
    /// The reference pages
    Docs,
}

/// A generated file.
struct Generated {
    path: String,
    text: String,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let files = match options.what {
        What::Crds => crds(),
        What::Docs => pages::all(),
    };
    let mut good = true;
    for file in files {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(&file.path);
        if fs::read_to_string(&path).is_ok_and(|text| text == file.text) {
            continue;
        }
        if options.check {
            good = false;
            eprintln!(
                "{} isn't what the code says: run `cargo xtask crds` and `cargo xtask docs`",
                file.path
            );
        } else {
            fs::write(&path, &file.text).with_context(|| format!("can't write {}", file.path))?;
            println!("wrote {}", file.path);
        }
    }
    Ok(good)
}

fn crds() -> Vec<Generated> {
    let files = ottla_api::crd_files().into_iter();
    files.map(|file| Generated { path: format!("crds/{}", file.name), text: file.text }).collect()
}

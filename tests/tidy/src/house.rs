//! The figures by which this house compares itself with others, counted: `cargo xtask house` prints them.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};

use crate::length;
use crate::source::{largest_error_enum, unwraps};
use crate::tree::File;

/// The crates whose logic touches no file, socket, clock or chance.
pub const PURE: &[&str] = &["broker/types", "broker/wire", "broker/log", "broker/core", "broker/placement"];

/// What the broker isn't made of, though it lies beside it: its simulator and the judge of histories.
const BESIDE_THE_BROKER: &[&str] = &["broker/sim", "broker/history"];

/// The widest line of a comment.
const COMMENT_WIDTH_MAX: usize = 110;

/// One figure.
pub struct Row {
    /// What is counted.
    pub what: String,
    /// What it comes to.
    pub here: String,
    /// What it should.
    pub target: &'static str,
    /// Whether it does.
    pub is_met: bool,
}

/// All figures of a tree.
pub fn rows(files: &[File]) -> Vec<Row> {
    let rust: Vec<&File> = files.iter().filter(|file| file.path.ends_with(".rs")).collect();
    let product: Vec<&File> = rust.iter().copied().filter(|file| is_product(file)).collect();
    let mut rows = sizes(&product);
    rows.extend([api_keys(&product), constructors(&product), pure_share(&product)]);
    rows.extend(tests(&rust));
    rows.extend(assertions(&product));
    rows.extend([unwrapped(&product), documented(&product), opened(&rust), errors(&product)]);
    rows.extend([closures(&product), wide_comments(&rust)]);
    rows
}

fn is_product(file: &File) -> bool {
    (file.path.starts_with("broker/") || file.path.starts_with("operator/")) && !file.is_test()
}

fn is_in(file: &File, folders: &[&str]) -> bool {
    folders.iter().any(|folder| file.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
}

fn lines(files: &[&File]) -> usize {
    files.iter().map(|file| file.product().lines().count()).sum()
}

fn per_1000(count: usize, lines: usize) -> f64 {
    count as f64 * 1_000.0 / lines.max(1) as f64
}

fn sizes(product: &[&File]) -> Vec<Row> {
    let mut sizes: Vec<usize> = product.iter().map(|file| file.product().lines().count()).collect();
    sizes.sort_unstable();
    let (largest, median) =
        (sizes.last().copied().unwrap_or(0), sizes.get(sizes.len() / 2).copied().unwrap_or(0));
    let mut lengths: Vec<usize> = product
        .iter()
        .flat_map(|file| length::functions(&File::sample(&file.path, file.product())))
        .map(|(_, lines)| lines)
        .collect();
    lengths.sort_unstable();
    let percentile = lengths.get(lengths.len() * 95 / 100).copied().unwrap_or(0);
    let long = lengths.iter().filter(|lines| **lines > length::FUNCTION_LINES_MAX).count();
    vec![
        Row {
            what: "largest and median file, not tests".to_owned(),
            here: format!("{largest}, {median} lines"),
            target: "at most 600, 200",
            is_met: largest <= 600 && median <= 200,
        },
        Row {
            what: "functions: 95th percentile, and how many are over 70 lines".to_owned(),
            here: format!("{percentile} lines, {long} of {}", lengths.len()),
            target: "at most 40, 1 %",
            is_met: percentile <= 40 && long * 100 <= lengths.len(),
        },
    ]
}

/// Where each API that is served has its line.
const REGISTRY: &str = "broker/server/src/handlers/mod.rs";

/// Names all keys of Kafka, spoken here or not: a new API finds its own there.
const ALL_KEYS: &str = "broker/wire/src/api_key.rs";

/// The files that name an API key or its messages: the message, the handler, and what has a line for each.
fn api_keys(product: &[&File]) -> Row {
    let broker: Vec<(&str, TokenStream)> = product
        .iter()
        .filter(|file| is_in(file, &["broker/wire", "broker/server"]) && file.path != ALL_KEYS)
        .filter_map(|file| Some((file.path.as_str(), file.product().parse().ok()?)))
        .collect();
    let registry = broker.iter().find(|(path, _)| *path == REGISTRY);
    let keys = registry.map(|(_, tokens)| served(tokens.clone())).unwrap_or_default();
    let mut counts: Vec<(usize, &str)> = keys
        .iter()
        .map(|key| {
            let names = [key.clone(), format!("{key}Request"), format!("{key}Response")];
            let named =
                broker.iter().filter(|(_, tokens)| names.iter().any(|name| uses(tokens.clone(), name) > 0));
            (named.count(), key.as_str())
        })
        .collect();
    counts.sort_unstable();
    let (here, is_met) = match (counts.get(counts.len() / 2), counts.last()) {
        (Some((median, _)), Some((most, key))) => (format!("{median}, {most} ({key})"), *median <= 4),
        _ => (format!("no key is found in {REGISTRY}"), false),
    };
    Row {
        what: "files that name an API key, not tests: median and most".to_owned(),
        here,
        target: "median at most 4: message, its list, handler, its line",
        is_met,
    }
}

/// The keys in the registry's lines `serve::<apis::KEY>(…)`.
fn served(tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for four in tokens.windows(4) {
        if let [TokenTree::Ident(apis), TokenTree::Punct(_), TokenTree::Punct(_), TokenTree::Ident(key)] =
            four
            && apis == "apis"
        {
            found.push(key.to_string());
        }
    }
    for token in tokens {
        if let TokenTree::Group(group) = token {
            found.extend(served(group.stream()));
        }
    }
    found
}

/// How often a name stands among tokens, in macros too.
fn uses(tokens: TokenStream, name: &str) -> usize {
    tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Ident(ident) => usize::from(ident == name),
            TokenTree::Group(group) => uses(group.stream(), name),
            _ => 0,
        })
        .sum()
}

/// What a visitor counts in the product's part of a file.
trait Counter: Default + for<'ast> Visit<'ast> {}
impl<C: Default + for<'ast> Visit<'ast>> Counter for C {}

fn count<C: Counter>(file: &File) -> C {
    let mut counter = C::default();
    if let Ok(parsed) = syn::parse_file(file.product()) {
        counter.visit_file(&parsed);
    }
    counter
}

#[derive(Default)]
struct Constructors(usize);

impl<'ast> Visit<'ast> for Constructors {
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        let makes_self = matches!(&item.sig.output, syn::ReturnType::Type(_, made) if uses(made.to_token_stream(), "Self") > 0);
        if makes_self && item.sig.receiver().is_none() {
            self.0 = self.0.max(item.sig.inputs.len());
        }
        visit::visit_impl_item_fn(self, item);
    }
}

fn constructors(product: &[&File]) -> Row {
    let counts = product.iter().map(|file| (count::<Constructors>(file).0, file.path.as_str()));
    let (most, path) = counts.max().unwrap_or_default();
    Row {
        what: "most parameters of a constructor".to_owned(),
        here: format!("{most} ({path})"),
        target: "at most 7",
        is_met: most <= 7,
    }
}

fn pure_share(product: &[&File]) -> Row {
    let broker: Vec<&File> = product
        .iter()
        .copied()
        .filter(|file| is_in(file, &["broker"]) && !is_in(file, BESIDE_THE_BROKER))
        .collect();
    let pure: Vec<&File> = broker.iter().copied().filter(|file| is_in(file, PURE)).collect();
    let share = lines(&pure) * 100 / lines(&broker).max(1);
    Row {
        what: "share of the broker's lines in pure crates".to_owned(),
        here: format!("{share} %"),
        target: "at least 60 %",
        is_met: share >= 60,
    }
}

/// Lines of tests for each of the product: of all, and of the crates that only their own tests can break.
fn tests(rust: &[&File]) -> Vec<Row> {
    let of = |name: &str, folders: &[&str], target: &'static str, least: f64| {
        let files: Vec<&File> = rust.iter().copied().filter(|file| is_in(file, folders)).collect();
        let product: Vec<&File> = files.iter().copied().filter(|file| is_product(file)).collect();
        let all: usize = files.iter().map(|file| file.text.lines().count()).sum();
        let ratio = (all - lines(&product)) as f64 / lines(&product).max(1) as f64;
        Row {
            what: format!("lines of tests for each of the product, {name}"),
            here: format!("{ratio:.2}"),
            target,
            is_met: ratio >= least,
        }
    };
    vec![
        of("everywhere", &["broker", "operator", "tests"], "at least 0.8", 0.8),
        of("store", &["broker/store"], "at least 0.5", 0.5),
        of("server", &["broker/server"], "at least 0.5", 0.5),
    ]
}

/// The calls of `assert!` and its relatives, debug ones too.
pub fn asserted(text: &str) -> usize {
    let Ok(tokens) = text.parse::<TokenStream>() else { return 0 };
    const ASSERTIONS: &[&str] =
        &["assert", "assert_eq", "assert_ne", "debug_assert", "debug_assert_eq", "debug_assert_ne"];
    ASSERTIONS.iter().map(|name| uses(tokens.clone(), name)).sum()
}

fn assertions(product: &[&File]) -> Vec<Row> {
    let of = |name: &str, folders: &[&str], target: &'static str, least: f64| {
        let files: Vec<&File> = product.iter().copied().filter(|file| is_in(file, folders)).collect();
        let density = per_1000(files.iter().map(|file| asserted(file.product())).sum(), lines(&files));
        Row {
            what: format!("assertions in 1,000 lines of {name}"),
            here: format!("{density:.1}"),
            target,
            is_met: density >= least,
        }
    };
    vec![
        of("pure crates", PURE, "at least 10", 10.0),
        of("core", &["broker/core"], "at least 8", 8.0),
        of("log", &["broker/log"], "at least 8", 8.0),
        of("store", &["broker/store"], "at least 8", 8.0),
    ]
}

fn unwrapped(product: &[&File]) -> Row {
    let calls = product.iter().map(|file| unwraps(file).1).sum();
    let density = per_1000(calls, lines(product));
    Row {
        what: "unwrap and expect in 1,000 lines, not tests".to_owned(),
        here: format!("{density:.1}"),
        target: "at most 1",
        is_met: density <= 1.0,
    }
}

/// Public items, and those of them that are documented.
#[derive(Default)]
struct Documented {
    public: usize,
    documented: usize,
}

impl Documented {
    fn add(&mut self, visibility: &syn::Visibility, attributes: &[syn::Attribute]) {
        if !matches!(visibility, syn::Visibility::Public(_)) {
            return;
        }
        let has = |name: &str| attributes.iter().any(|attribute| attribute.path().is_ident(name));
        self.public += 1;
        self.documented += usize::from(has("doc"));
    }
}

impl<'ast> Visit<'ast> for Documented {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.vis, &item.attrs);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.vis, &item.attrs);
        visit::visit_item_struct(self, item);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        // Those of a tuple are what it says itself.
        if field.ident.is_some() {
            self.add(&field.vis, &field.attrs);
        }
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.vis, &item.attrs);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.vis, &item.attrs);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.add(&item.vis, &item.attrs);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.vis, &item.attrs);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.vis, &item.attrs);
    }
}

fn documented(product: &[&File]) -> Row {
    let (mut public, mut documented) = (0, 0);
    for file in product.iter().filter(|file| is_in(file, PURE)) {
        let found = count::<Documented>(file);
        public += found.public;
        documented += found.documented;
    }
    let share = documented as f64 * 100.0 / public.max(1) as f64;
    Row {
        what: "public items that are documented, pure crates".to_owned(),
        here: format!("{share:.0} % of {public}"),
        target: "at least 95 %",
        is_met: share >= 95.0,
    }
}

fn opened(rust: &[&File]) -> Row {
    let opened = rust.iter().filter(|file| file.text.starts_with("//! ")).count();
    Row {
        what: "files that open with what they are".to_owned(),
        here: format!("{opened} of {}", rust.len()),
        target: "all",
        is_met: opened == rust.len(),
    }
}

fn errors(product: &[&File]) -> Row {
    let (variants, name) =
        product.iter().filter_map(|file| largest_error_enum(file)).max().unwrap_or_default();
    Row {
        what: "variants of the largest enum of errors".to_owned(),
        here: format!("{variants} ({name})"),
        target: "at most 12",
        is_met: variants <= 12,
    }
}

/// Closures that get a name in a function and are used once.
#[derive(Default)]
struct NamedOnce(usize);

impl<'ast> Visit<'ast> for NamedOnce {
    fn visit_block(&mut self, block: &'ast syn::Block) {
        for (at, statement) in block.stmts.iter().enumerate() {
            if let syn::Stmt::Local(local) = statement
                && let syn::Pat::Ident(name) = &local.pat
                && let Some(init) = &local.init
                && matches!(*init.expr, syn::Expr::Closure(_))
            {
                let after = block.stmts[at + 1..].iter().map(ToTokens::to_token_stream);
                let used: usize = after.map(|tokens| uses(tokens, &name.ident.to_string())).sum();
                self.0 += usize::from(used == 1);
            }
        }
        visit::visit_block(self, block);
    }
}

/// How many closures of a file's product are named and used once.
pub fn closures_named_once(file: &File) -> usize {
    count::<NamedOnce>(file).0
}

fn closures(product: &[&File]) -> Row {
    let density = per_1000(product.iter().map(|file| closures_named_once(file)).sum(), lines(product));
    Row {
        what: "closures that are named and used once, in 1,000 lines".to_owned(),
        here: format!("{density:.1}"),
        target: "at most 1",
        is_met: density <= 1.0,
    }
}

fn wide_comments(rust: &[&File]) -> Row {
    let all = rust.iter().flat_map(|file| file.text.lines());
    let is_comment = |line: &&str| line.trim_start().starts_with("//");
    let wide = all.filter(is_comment).filter(|line| line.chars().count() > COMMENT_WIDTH_MAX).count();
    Row {
        what: "lines of comments wider than 110".to_owned(),
        here: wide.to_string(),
        target: "none",
        is_met: wide == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closures_that_are_used_once_are_counted() {
        let text = "fn f() { let once = |a| a + 1; let twice = |a| a; once(twice(2)); twice(3); }";
        assert_eq!(closures_named_once(&File::sample("a.rs", text)), 1);
        let in_a_macro = "fn f() { let name = || 1; println!(\"{}\", name()); }";
        assert_eq!(closures_named_once(&File::sample("a.rs", in_a_macro)), 1);
        assert_eq!(closures_named_once(&File::sample("a.rs", "fn f() { let name = 1; g(name); }")), 0);
    }

    #[test]
    fn assertions_are_counted_outside_comments() {
        assert_eq!(asserted("fn f() { assert!(a); // assert!(b)\n debug_assert_eq!(c, d); }"), 2);
    }

    #[test]
    fn keys_are_found_by_the_registrys_lines() {
        let tokens = "const APIS: &[Api] = &[serve::<apis::Fetch>(1), serve::<apis::ListOffsets>(2)];";
        assert_eq!(served(tokens.parse().unwrap()), ["Fetch", "ListOffsets"]);
    }

    /// The files of a broker that serves two APIs: what an author edits for each, and `others`.
    #[track_caller]
    fn files_for_a_key(others: &[(&str, &str)], here: &str, is_met: bool) {
        let list =
            "macro_rules! with_apis { () => { a: A(ARequest, AResponse); b: B(BRequest, BResponse); } }";
        let registry = "pub const SERVED: &[Served] = &[serve::<apis::A>(0, 1), serve::<apis::B>(0, 1)];";
        let files = [
            ("broker/wire/src/api_key.rs", "pub enum ApiKey { A, B }"),
            ("broker/wire/src/messages/mod.rs", list),
            ("broker/wire/src/messages/a.rs", "pub struct ARequest; pub struct AResponse;"),
            ("broker/wire/src/messages/b.rs", "pub struct BRequest; pub struct BResponse;"),
            ("broker/server/src/handlers/a.rs", "fn begin() { decode::<ARequest>() } // as BRequest is"),
            ("broker/server/src/handlers/b.rs", "fn begin() { decode::<BRequest>() }"),
            (REGISTRY, registry),
        ];
        // Of two files with one path the one given counts.
        let files = files.iter().filter(|(path, _)| others.iter().all(|(other, _)| other != path));
        let files: Vec<File> = files.chain(others).map(|(path, text)| File::sample(path, text)).collect();
        let row = api_keys(&files.iter().collect::<Vec<_>>());
        assert_eq!((row.here.as_str(), row.is_met), (here, is_met));
    }

    #[test]
    fn files_that_an_author_edits_for_a_key_are_counted() {
        files_for_a_key(&[], "4, 4 (B)", true);
        let operator = ("operator/local/src/a.rs", "fn a() { send(ARequest) }");
        files_for_a_key(&[operator, ("broker/server/src/one.rs", "ARequest")], "5, 5 (A)", false);
        files_for_a_key(&[("broker/server/src/both.rs", "apis::A; BResponse")], "5, 5 (B)", false);
        files_for_a_key(&[(REGISTRY, "")], &format!("no key is found in {REGISTRY}"), false);
    }

    #[test]
    fn public_items_without_a_word_are_counted() {
        let text =
            "/// One.\npub struct A { /// B.\n pub b: u8, pub c: u8 }\nfn private() {}\npub fn d() {}\n";
        let found: Documented = count(&File::sample("a.rs", text));
        assert_eq!((found.public, found.documented), (4, 2));
    }

    #[test]
    fn the_longest_constructor_counts() {
        let text =
            "impl A { fn new(a: u8, b: u8) -> Self { A } fn with(&self, c: u8, d: u8, e: u8) -> Self { A } }";
        assert_eq!(count::<Constructors>(&File::sample("a.rs", text)).0, 2);
    }
}

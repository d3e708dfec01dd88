//! Every expression of a policy: what it reads of the input, and with what it compares that.

use std::collections::BTreeMap;

use regorus::{
    Value,
    unstable::{Expr, Literal, LiteralStmt, Module, Query, Rule, RuleHead},
};

use super::{
    Finding,
    rules::scalar,
    schema::{Member, Place},
};

/// A part of the input, and how the policy writes it.
#[derive(Clone)]
struct Read<'s> {
    place: Place<'s>,
    path: String,
}

/// A walk over a policy. Names stand for parts of the input where the policy gave them to such parts.
pub(super) struct Walk<'s> {
    input: Place<'s>,
    global: BTreeMap<String, Read<'s>>,
    local: BTreeMap<String, Option<Read<'s>>>,
    findings: Vec<Finding>,
}

impl<'s> Walk<'s> {
    /// What is wrong with what `module` reads.
    pub(super) fn over(module: &Module, input: Place<'s>) -> Vec<Finding> {
        let mut walk = Self { input, global: BTreeMap::new(), local: BTreeMap::new(), findings: Vec::new() };
        // Once to learn which rules are names of parts of the input, and once to judge.
        for rule in &module.policy {
            walk.rule(rule);
        }
        walk.findings.clear();
        for rule in &module.policy {
            walk.rule(rule);
        }
        walk.findings
    }

    fn rule(&mut self, rule: &Rule) {
        self.local.clear();
        match rule {
            Rule::Default { value, .. } => {
                self.expr(value);
            }
            Rule::Spec { head, bodies, .. } => {
                if let RuleHead::Func { args, .. } = head {
                    for arg in args {
                        self.local.insert(arg.span().text().to_owned(), None);
                    }
                }
                for body in bodies {
                    self.query(&body.query);
                    if let Some(assign) = &body.assign {
                        self.expr(&assign.value);
                    }
                }
                self.head(head, bodies.is_empty());
            }
        }
    }

    fn head(&mut self, head: &RuleHead, unconditional: bool) {
        match head {
            RuleHead::Compr { refr, assign, .. } => {
                let Some(assign) = assign else { return };
                let read = self.expr(&assign.value);
                if let (Expr::Var { .. }, Some(read), true) = (refr.as_ref(), read, unconditional) {
                    self.global.insert(refr.span().text().to_owned(), read);
                }
            }
            RuleHead::Set { key, .. } => {
                if let Some(key) = key {
                    self.expr(key);
                }
            }
            RuleHead::Func { assign, .. } => {
                if let Some(assign) = assign {
                    self.expr(&assign.value);
                }
            }
        }
    }

    fn query(&mut self, query: &Query) {
        for stmt in &query.stmts {
            self.statement(stmt);
        }
    }

    fn statement(&mut self, stmt: &LiteralStmt) {
        match &stmt.literal {
            Literal::SomeVars { vars, .. } => {
                for var in vars {
                    self.local.insert(var.text().to_owned(), None);
                }
            }
            Literal::SomeIn { key, value, collection, .. } => {
                let each = self.expr(collection).and_then(|read| read.each());
                if let Some(key) = key {
                    self.local.insert(key.span().text().to_owned(), None);
                }
                self.local.insert(value.span().text().to_owned(), each);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => {
                self.expr(expr);
            }
            Literal::Every { key, value, domain, query, .. } => {
                let each = self.expr(domain).and_then(|read| read.each());
                if let Some(key) = key {
                    self.local.insert(key.text().to_owned(), None);
                }
                self.local.insert(value.text().to_owned(), each);
                self.query(query);
            }
        }
    }

    /// Visits an expression and all in it; says which part of the input it is, when it is one.
    fn expr(&mut self, expr: &Expr) -> Option<Read<'s>> {
        match expr {
            Expr::Var { span, .. } => return self.name(span.text()),
            Expr::RefDot { refr, field, span, .. } => {
                let read = self.expr(refr)?;
                return self.member(&read, field.1.as_string().ok()?, span.line);
            }
            Expr::RefBrack { refr, index, span, .. } => {
                self.expr(index);
                let read = self.expr(refr)?;
                return match scalar(index) {
                    Some(Value::String(name)) => self.member(&read, name, span.line),
                    _ => read.each(),
                };
            }
            Expr::Call { fcn, params, span, .. } => return self.call(fcn.span().text(), params, span.line),
            Expr::BoolExpr { lhs, rhs, span, .. } => self.compare(lhs, rhs, span.line),
            Expr::AssignExpr { lhs, rhs, .. } => self.assign(lhs, rhs),
            Expr::Membership { key, value, collection, span, .. } => {
                if let Some(key) = key {
                    self.expr(key);
                }
                self.belongs(value, collection, span.line);
            }
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                for item in items {
                    self.expr(item);
                }
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key);
                    self.expr(value);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.query(query);
                self.expr(term);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.query(query);
                self.expr(key);
                self.expr(value);
            }
            Expr::UnaryExpr { expr, .. } => {
                self.expr(expr);
            }
            Expr::BinExpr { lhs, rhs, .. } | Expr::ArithExpr { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
        }
        None
    }

    fn name(&self, name: &str) -> Option<Read<'s>> {
        if name == "input" {
            return Some(Read { place: self.input, path: String::new() });
        }
        match self.local.get(name) {
            Some(local) => local.clone(),
            None => self.global.get(name).cloned(),
        }
    }

    fn member(&mut self, read: &Read<'s>, name: &str, line: u32) -> Option<Read<'s>> {
        let path = if read.path.is_empty() { name.to_owned() } else { format!("{}.{name}", read.path) };
        match read.place.member(name) {
            Member::Known(place) => Some(Read { place, path }),
            Member::Open => None,
            Member::Unknown => {
                let instead = instead(read, name);
                self.findings.push(Finding::mistake(line, format!("input has no member {path}{instead}")));
                None
            }
        }
    }

    fn call(&mut self, function: &str, params: &[regorus::unstable::Ref<Expr>], line: u32) -> Option<Read<'s>> {
        let reads: Vec<Option<Read<'s>>> = params.iter().map(|param| self.expr(param)).collect();
        if function != "object.get" {
            return None;
        }
        let object = reads.into_iter().next().flatten()?;
        match params.get(1).and_then(|key| scalar(key)) {
            Some(Value::String(name)) => self.member(&object, name, line),
            _ => None,
        }
    }

    fn assign(&mut self, lhs: &Expr, rhs: &Expr) {
        let read = self.expr(rhs);
        if let Expr::Var { span, .. } = lhs
            && span.text() != "input"
        {
            self.local.insert(span.text().to_owned(), read);
        } else {
            self.expr(lhs);
        }
    }

    fn compare(&mut self, lhs: &Expr, rhs: &Expr, line: u32) {
        let (left, right) = (self.expr(lhs), self.expr(rhs));
        for (read, other) in [(left, rhs), (right, lhs)] {
            if let (Some(read), Some(value)) = (read, scalar(other)) {
                self.findings.extend(never(&read, value).map(|text| Finding::mistake(line, text)));
            }
        }
    }

    /// `value in {"a", "b"}`: each member is compared.
    fn belongs(&mut self, value: &Expr, collection: &Expr, line: u32) {
        let (read, _) = (self.expr(value), self.expr(collection));
        if let (Some(read), Expr::Array { items, .. } | Expr::Set { items, .. }) = (read, collection) {
            for value in items.iter().filter_map(|item| scalar(item)) {
                self.findings.extend(never(&read, value).map(|text| Finding::mistake(line, text)));
            }
        }
    }
}

impl<'s> Read<'s> {
    fn each(&self) -> Option<Self> {
        Some(Self { place: self.place.each()?, path: format!("{}[_]", self.path) })
    }
}

/// Why a part of the input never has this value, if so.
fn never(read: &Read<'_>, value: &Value) -> Option<String> {
    let Read { place, path } = read;
    let kind = place.kind()?;
    let fits = match value {
        Value::String(_) => kind == "string",
        Value::Number(_) => kind == "integer",
        Value::Bool(_) => kind == "boolean",
        Value::Null | Value::Array(_) | Value::Set(_) | Value::Object(_) | Value::Undefined => false,
    };
    if !fits {
        let article = if kind.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
        return Some(format!("{path} is {article} {kind}, and is compared with {value}"));
    }
    let choices: Vec<&str> = place.choices()?.iter().filter_map(serde_json::Value::as_str).collect();
    let listed = value.as_string().ok().is_some_and(|text| choices.contains(&&**text));
    (!listed).then(|| format!("{path} is never {value}: it is one of {}", choices.join(", ")))
}

/// What the author may have meant.
fn instead(read: &Read<'_>, name: &str) -> String {
    let mut names = read.place.names();
    names.sort_unstable();
    let near = names.iter().copied().min_by_key(|known| distance(known, name));
    match (read.place.kind(), near) {
        (Some(kind @ ("string" | "integer" | "boolean" | "array")), _) => format!(": {} is a {kind}", read.path),
        (_, Some(near)) if distance(near, name) <= 2 => format!("; did you mean {near}?"),
        (_, _) => format!("; its members are {}", names.join(", ")),
    }
}

/// Edits from one name to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (index, left) in from.chars().enumerate() {
        let mut diagonal = index;
        if let Some(first) = row.first_mut() {
            *first = index.saturating_add(1);
        }
        let mut before = index.saturating_add(1);
        for (slot, right) in row.iter_mut().skip(1).zip(to.chars()) {
            let above = *slot;
            let changed = diagonal.saturating_add(usize::from(left != right));
            *slot = changed.min(above.saturating_add(1)).min(before.saturating_add(1));
            (diagonal, before) = (above, *slot);
        }
    }
    row.last().copied().unwrap_or_default()
}

//! Rules by their form: always true, or without a default.

use std::collections::{BTreeMap, BTreeSet};

use regorus::{
    Value,
    unstable::{BoolOp, Expr, Literal, Module, Query, Rule, RuleBody, RuleHead},
};

use super::Finding;
use crate::policy::PolicyPackage;

/// What the forms of the rules give away.
pub(super) fn findings(module: &Module, package: PolicyPackage) -> Vec<Finding> {
    let defaults: BTreeSet<&str> = module.policy.iter().filter_map(|rule| default_of(rule)).collect();
    let mut findings = Vec::new();
    let mut conditional: BTreeMap<&str, (u32, bool)> = BTreeMap::new();
    for rule in &module.policy {
        let Rule::Spec { span, head, bodies } = rule.as_ref() else { continue };
        let name = name_of(head);
        if name == "allow" && bodies.iter().all(|body| body.query.stmts.is_empty()) && is_true(head) {
            findings.push(Finding::mistake(span.line, "`allow` is true whatever the input says"));
        }
        if bodies.iter().any(is_always_true) {
            findings.push(Finding::mistake(span.line, format!("the condition of `{name}` is always true")));
        }
        if matches!(head, RuleHead::Compr { .. }) {
            let all = conditional.entry(name).or_insert((span.line, true));
            all.1 &= bodies.iter().all(|body| !body.query.stmts.is_empty()) && !bodies.is_empty();
        }
    }
    for output in package.outputs().iter().filter(|output| !defaults.contains(*output)) {
        if let Some((line, true)) = conditional.get(output) {
            let text =
                format!("`{output}` is undefined when none of its conditions holds: write `default {output} := …`");
            findings.push(Finding::warning(*line, text));
        }
    }
    findings
}

fn default_of(rule: &Rule) -> Option<&str> {
    match rule {
        Rule::Default { refr, .. } => Some(refr.span().text()),
        Rule::Spec { .. } => None,
    }
}

/// The name that a rule gives a value to.
fn name_of(head: &RuleHead) -> &str {
    let (RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. }) = head;
    refr.span().text()
}

/// Whether the head's value is `true`, said or implied.
fn is_true(head: &RuleHead) -> bool {
    match head {
        RuleHead::Compr { assign, .. } => assign
            .as_ref()
            .is_none_or(|assign| matches!(assign.value.as_ref(), Expr::Bool { value: Value::Bool(true), .. })),
        RuleHead::Set { .. } | RuleHead::Func { .. } => false,
    }
}

fn is_always_true(body: &RuleBody) -> bool {
    let Query { stmts, .. } = body.query.as_ref();
    let constant = |literal: &Literal| match literal {
        Literal::Expr { expr, .. } => holds_always(expr),
        Literal::SomeVars { .. } | Literal::SomeIn { .. } | Literal::NotExpr { .. } | Literal::Every { .. } => false,
    };
    !stmts.is_empty() && stmts.iter().all(|stmt| constant(&stmt.literal))
}

fn holds_always(expr: &Expr) -> bool {
    if let Expr::BoolExpr { op, lhs, rhs, .. } = expr {
        let (Some(left), Some(right)) = (scalar(lhs), scalar(rhs)) else { return false };
        return match op {
            BoolOp::Lt => left < right,
            BoolOp::Le => left <= right,
            BoolOp::Eq => left == right,
            BoolOp::Ge => left >= right,
            BoolOp::Gt => left > right,
            BoolOp::Ne => left != right,
        };
    }
    // Whatever is written out holds, except `false`.
    scalar(expr).is_some_and(|value| *value != Value::Bool(false))
}

/// A text, number, boolean or null that is written out.
pub(super) const fn scalar(expr: &Expr) -> Option<&Value> {
    if let Expr::String { value, .. }
    | Expr::RawString { value, .. }
    | Expr::Number { value, .. }
    | Expr::Bool { value, .. }
    | Expr::Null { value, .. } = expr
    {
        Some(value)
    } else {
        None
    }
}

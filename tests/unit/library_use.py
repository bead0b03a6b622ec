"""Where source text uses what libraries do not promise: private names, and the wording of errors."""

import ast
import re

_UNDOCUMENTED = (
    *("datasets.packaged_modules", "inspect.unwrap", "mlflow.protos", "mlflow.store"),
    *("mlflow.utils", "ray._private", "ray.dashboard", "ray.train.v2", "torch.ops"),
)
"""What libraries do not document, although its names have no underscore in front."""
_NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}
_OWN = {"self", "cls", "super()"}
"""Owners of the private names that are a class's own."""
_TEXTS = {"str", "repr", "first_line", "one_line"}
"""Functions that give the text of an error."""
_SEARCHES = {
    *("search", "match", "fullmatch", "findall", "finditer", "sub"),
    *("startswith", "endswith", "find", "rfind", "index", "rindex", "count"),
}


def text_decisions(source: str) -> set[str]:
    """Return the expressions that search the text of an error, or of what is bound from one."""
    found = set()
    for function in _scopes(ast.parse(source)):
        nodes = list(ast.walk(function))
        errors = {n.name for n in nodes if isinstance(n, ast.ExceptHandler) and n.name}
        errors |= {
            node.arg
            for node in nodes
            if isinstance(node, ast.arg)
            and re.search(r"(Error|Exception)\b", ast.unparse(node.annotation or node))
        }
        texts = {ast.unparse(n) for n in nodes if _is_text(n, errors, set())}
        texts |= {
            ast.unparse(node.targets[0])
            for node in nodes
            if isinstance(node, ast.Assign)
            and any(_is_text(part, errors, texts) for part in ast.walk(node.value))
        }
        for node in nodes:
            if isinstance(node, ast.Compare):
                if any(_is_text(part, errors, texts) for part in (node.left, *node.comparators)):
                    found.add(ast.unparse(node))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                parts = (node.func.value, *node.args)
                if node.func.attr in _SEARCHES and any(_is_text(p, errors, texts) for p in parts):
                    found.add(ast.unparse(node))
    return found


def _scopes(tree: ast.Module) -> list[ast.AST]:
    """Return the functions of a module, and the module without them."""
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    top = [n for n in tree.body if not isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [*functions, ast.Module(top, [])]


def _is_text(node: ast.AST, errors: set[str], texts: set[str]) -> bool:
    """Whether an expression is the text of one of the errors, or a name that stands for it."""
    if ast.unparse(node) in texts:
        return True
    if isinstance(node, ast.Call) and ast.unparse(node.func) in _TEXTS:
        return any(isinstance(n, ast.Name) and n.id in errors for n in ast.walk(node))
    return False


def private_names(source: str) -> set[str]:
    """Return private or undocumented names of other modules that a module uses."""
    tree, found, names = ast.parse(source), set[str](), dict[str, str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname: a.name for a in node.names if a.asname}
            found |= {a.name for a in node.names if _is_private(a.name) or _is_undocumented(a.name)}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
            names |= full
            found |= {n for n in full.values() if _is_private(n) or _is_undocumented(n)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in _OWN:
            name = full_name(node, names)
            if _is_private(node.attr) or _is_undocumented(name):
                found.add(name)
    return found


def _is_private(name: str) -> bool:
    """Whether a part of a dotted name begins with one underscore."""
    parts = {part for part in name.split(".") if re.match(r"_[A-Za-z]", part)}
    return bool(parts - _NAMED_TUPLES)


def _is_undocumented(name: str) -> bool:
    return f"{name}.".startswith(tuple(f"{each}." for each in _UNDOCUMENTED))


def full_name(node: ast.AST, names: dict[str, str]) -> str:
    """Return a dotted name as it is after the imports that ``names`` lists."""
    first, dot, rest = ast.unparse(node).partition(".")
    return names.get(first, first) + dot + rest

"""References in docstrings that name a class or function without its module."""

from docutils.nodes import Element, literal
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """Find the only documented object of that name; other names in types, as of other libraries, stay text."""
    if node.get('refdomain') != 'py':
        return None
    domain, target = env.get_domain('py'), node['reftarget']
    found = {name for name, entry in domain.objects.items() if f'.{name}'.endswith(f'.{target}') and not entry.aliased}
    if len(found) == 1:
        node['reftarget'] = found.pop()
        return domain.resolve_xref(env, node['refdoc'], app.builder, node['reftype'], node['reftarget'], node, content)
    return None if isinstance(content, literal) else content

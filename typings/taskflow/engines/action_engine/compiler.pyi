from typing import Any, Final

import networkx as nx

TASK: Final = "task"
RETRY: Final = "retry"
FLOW: Final = "flow"
FLOW_END: Final = "flow_end"
ATOMS: tuple[str, ...]
FLOWS: tuple[str, ...]

class Compilation:
    TASK: str
    RETRY: str
    FLOW: str
    FLOW_END: str
    def __init__(self, execution_graph: nx.DiGraph, hierarchy: Any) -> None: ...
    @property
    def execution_graph(self) -> nx.DiGraph: ...
    @property
    def hierarchy(self) -> Any: ...

class PatternCompiler:
    def __init__(self, root: Any, freeze: bool = True) -> None: ...
    def compile(self) -> Compilation: ...

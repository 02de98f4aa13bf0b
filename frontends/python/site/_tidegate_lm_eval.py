"""Makes lm-eval know `--model tidegate`: when lm_eval.models is imported, the model's name is registered there.

lm-eval has no entry points for models of other packages. This module is imported at the start of the interpreter
(by tidegate-lm-eval.pth beside it) and only waits.
"""

import sys


class _Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "lm_eval.models":
            return None
        sys.meta_path.remove(_Finder)
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            from lm_eval.api.registry import model_registry

            if "tidegate" not in model_registry:
                model_registry.register("tidegate", target="tidegate.lm_eval:TidegateLM")

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Finder)

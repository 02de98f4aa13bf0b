# One configuration for every lit test of the project.
import os

import lit.formats

config.name = "Tidegate"
config.test_format = lit.formats.ShTest(True)
config.suffixes = [".mlir", ".tg", ".test"]
config.excludes = ["unit", "exec", "golden", "gpu", "Inputs"]
config.test_source_root = os.path.dirname(__file__)

path = os.pathsep.join([config.tidegate_bin, config.llvm_bin, os.environ["PATH"]])
config.environment["PATH"] = path
config.substitutions.append(("%examples", os.path.join(config.source_dir, "examples")))
# A GPU whose kernels do nothing; see tests/unit/driver/FakeGpu.c.
fake_gpu = " ".join(f"TIDEGATE_{library}={config.fake_gpu}" for library in ("CUDA_DRIVER", "NVRTC", "CUBLASLT"))
config.substitutions.append(("%fake_gpu", f"env TIDEGATE_CACHE= {fake_gpu}"))
# Executables are found by PATH; FileCheck's variables never leak between labels.
config.environment["FILECHECK_OPTS"] = "--enable-var-scope"
for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "HOME", "TMPDIR"):
    if name in os.environ:
        config.environment[name] = os.environ[name]

# Memory that was not written reads as NaN.
config.environment["TIDEGATE_POISON"] = "1"

# Threads that wait give their core away: tests run side by side.
config.environment["OMP_WAIT_POLICY"] = "passive"

#include "ir/Interfaces/ElementwiseOpInterface.h"

#include "ir/Interfaces/ElementwiseOpInterface.cpp.inc"

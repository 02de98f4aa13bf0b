#include "ir/Interfaces/DifferentiableOpInterface.h"

#include "ir/Interfaces/DifferentiableOpInterface.cpp.inc"

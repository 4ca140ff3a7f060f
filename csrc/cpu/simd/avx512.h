#pragma once

#include "floats512.h"
#include "pairs_float.h"
#include "quads512.h"

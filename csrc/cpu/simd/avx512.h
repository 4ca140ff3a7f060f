#pragma once

#include "floats512.h"
#include "quads512.h"
